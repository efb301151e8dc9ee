# Sparring on NVIDIA GPUs.   docker build -f docker/cuda.Dockerfile -t sparring:cuda . && docker run --rm --gpus all sparring:cuda
# The CUDA libraries come with torch's own wheels; the host needs the driver and the NVIDIA container toolkit.
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
ARG EXTRAS=serve
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src ./src
# Without a compiler torch.compile does not work.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* \
    && pip install --constraint constraints.txt ".[${EXTRAS}]" && rm -rf /src
RUN useradd --create-home --uid 1000 sparring && install -d -o sparring /home/sparring/runs
USER sparring
WORKDIR /home/sparring
EXPOSE 8000
ENTRYPOINT ["sparring"]
CMD ["doctor"]
