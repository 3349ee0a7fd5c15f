# The operator's image. docs/install.md says how it is built, tests/e2e/test_image.py that it works.
# BASE: any image with Python 3.11 or later, venv, and CA certificates.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# Everything that is installed below comes from these wheels, whose hashes are checked here.
COPY requirements-image.lock ./
RUN python3 -m venv /build \
 && /build/bin/pip download --quiet --only-binary :all: --no-deps --require-hashes \
      --dest /wheels --requirement requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY helpers helpers
COPY models models
COPY dev dev
RUN /build/bin/pip install --quiet --no-index --find-links /wheels hatchling \
 && /build/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /wheels .
# Of boto3's 400 services only those stay that the operator calls or signs in with: the others were a
# third of the compressed layer. The root of the container is read-only, so bytecode is written here:
# of what is imported, not of the thousand modules that are not.
RUN python3 -m venv --without-pip /opt/fractal-operator \
 && /build/bin/pip --python /opt/fractal-operator/bin/python install --quiet --no-compile \
      --no-index --find-links /wheels fractal-operator \
 && find /opt/fractal-operator/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 \
      -type d ! -name ec2 ! -name ecs ! -name sts ! -name 'sso*' ! -name signin \
      -exec rm -r {} + \
 && /opt/fractal-operator/bin/python -c "import fractal_operator.main, fractal_helpers.migrate"
ARG VERSION=""
RUN test -z "${VERSION}" || test "$(/opt/fractal-operator/bin/fractal-operator version)" = "${VERSION}"

FROM ${BASE}
COPY --from=build /opt/fractal-operator /opt/fractal-operator
ENV PATH=/opt/fractal-operator/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="fractal-operator" \
      org.opencontainers.image.description="A Kubernetes operator that runs exactly one AWS ECS task for each FractalContainer." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
USER 65532:65532
ENTRYPOINT ["fractal-operator"]
CMD ["run"]
