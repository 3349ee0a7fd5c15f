"""What is shown of an error in a status is shown to everybody who may read the object."""

from datetime import UTC, datetime

from fractal_models.errors import Unavailable
from fractal_operator.shell.problems import problem_of

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def test_no_password_or_key_of_an_errors_text_is_shown() -> None:
    told = "no route through http://ops:s3cr3t-pw@proxy:3128, aws_secret_access_key=s3cr3t-key"
    text = problem_of(Unavailable(told), NOW).message
    assert "s3cr3t" not in text
    assert "proxy:3128" in text
