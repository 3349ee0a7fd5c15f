"""The tables as SQLAlchemy models, a module a schema. They declare; nothing here connects."""

from fractal_models.tables.base import Base
from fractal_models.tables.hardware import UserAppState, UserContainer
from fractal_models.tables.logs import ContainerHistory

__all__ = ["Base", "ContainerHistory", "UserAppState", "UserContainer"]
