# One image for each dependency group of uv.lock; `make images` builds them all:
#   docker build --build-arg IMAGE=train -t intermodal-train:0.1.0 .
# VARIANT=-gpu takes the group `train-gpu`.
ARG BASE=python:3.12-slim-trixie@sha256:57cd7c3a7a273101a6485ba99423ee568157882804b1124b4dd04266317710de

FROM ${BASE} AS build
ARG IMAGE
ARG VARIANT=
ARG UV=0.13.8
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/opt/intermodal/environment
# The package index, where it is another than PyPI; this stage's history is not in the image.
ARG INDEX=https://pypi.org/simple
WORKDIR /build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends binutils python3-venv && rm -rf /var/lib/apt/lists/*
RUN test -n "${IMAGE}" && python3 -m venv /opt/uv && /opt/uv/bin/python -m pip install --no-cache-dir --quiet --index-url "${INDEX}" "uv==${UV}"
COPY pyproject.toml uv.lock ./
RUN UV_DEFAULT_INDEX="${INDEX}" /opt/uv/bin/uv sync --locked --only-group "${IMAGE}${VARIANT}" --no-install-project --no-cache \
    --python "$(command -v python3)"
COPY images/trim images/healthy /opt/images/
# src/intermodal/components and pipelines are links to these two.
COPY components ./components
COPY pipelines ./pipelines
COPY src ./src
# Some packages ship files that no Python 3 compiles, hence the second status is not ours to judge.
RUN python3 /opt/images/trim /opt/intermodal/environment && \
    mkdir -p /opt/intermodal/src /opt/intermodal/bin && cp /opt/images/healthy /opt/intermodal/bin/ && \
    cp -RL src/intermodal /opt/intermodal/src/intermodal && \
    /opt/intermodal/environment/bin/python -m compileall -q /opt/intermodal/src && \
    { /opt/intermodal/environment/bin/python -m compileall -q -j 0 /opt/intermodal/environment/lib || true; } && \
    chmod -R a+rX /opt/intermodal

FROM ${BASE}
ARG BASE
ARG IMAGE
ARG VARIANT=
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="intermodal-${IMAGE}${VARIANT}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/intermodal /opt/intermodal
# Every model that is trained here records it.
ENV INTERMODAL_COMMIT=${REVISION}
# kfp's executor runs without kfp's dependencies, which only authoring needs. Any user may run it: what a task writes goes to its outputs and /tmp.
ENV PATH=/opt/intermodal/environment/bin:${PATH} PYTHONPATH=/opt/intermodal/src _KFP_RUNTIME=true PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp XDG_CACHE_HOME=/tmp/.cache MPLCONFIGDIR=/tmp/.matplotlib
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["/opt/intermodal/bin/healthy"]
USER 65532:0
WORKDIR /tmp
