# Two images from one file:
#   docker build --target serve -t charloom-serve:0.1.0 .
#   docker build --target train -t charloom-train:0.1.0 .
# Any base with Python 3.11 or newer and its venv module will do. pip reads PIP_INDEX_URL and
# PIP_EXTRA_INDEX_URL, so a mirror, or another build of torch, is one --build-arg away.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/charloom
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY charloom charloom
COPY networks networks
COPY training training
COPY export export
COPY serving serving
COPY writing writing

FROM build AS build-serve
# serve-gpu brings onnxruntime for CUDA in place of the one for CPUs.
ARG SERVE=serve
RUN /opt/charloom/bin/pip install -c constraints.txt ".[${SERVE},bpe]"

FROM build AS build-train
RUN /opt/charloom/bin/pip install -c constraints.txt '.[train,export,bpe]'

FROM ${BASE} AS runtime
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Charloom" \
      org.opencontainers.image.description="Small recurrent text generators, trained on your own text and streamed over gRPC" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"
# The number and not the name, so that Kubernetes can tell that it is not root.
RUN useradd --uid 10001 --user-group --no-log-init --create-home charloom
# onnxruntime reports to its makers unless it is told not to.
ENV PATH=/opt/charloom/bin:$PATH PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
USER 10001:10001
WORKDIR /home/charloom
ENTRYPOINT ["charloom"]
CMD ["--help"]

FROM runtime AS train
COPY --from=build-train /opt/charloom /opt/charloom

FROM runtime AS serve
COPY --from=build-serve /opt/charloom /opt/charloom
# Inside a container only the container can reach 127.0.0.1.
# Without encryption and callers of its own, it relies on who can reach the container's network: publish
# its ports to this machine alone (-p 127.0.0.1:50051:50051), or read docs/security.md.
ENV CHARLOOM_SERVE_HOST=0.0.0.0 CHARLOOM_SERVE_INSECURE_PUBLIC=true
EXPOSE 50051 9464
