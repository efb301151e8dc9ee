# Sparring on CPUs.   docker build -f docker/cpu.Dockerfile -t sparring . && docker run --rm -v "$PWD/runs:/home/sparring/runs" sparring demo
# Processes run as a user without rights; runs/ must be writable for it (or run with --user "$(id -u)").
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
# The version that the constraints name, or the next line would put the one with CUDA in its place.
RUN pip install --index-url https://download.pytorch.org/whl/cpu --constraint constraints.txt torch
COPY src ./src
RUN pip install --constraint constraints.txt ".[serve]" && rm -rf /src
RUN useradd --create-home --uid 1000 sparring && install -d -o sparring /home/sparring/runs
USER sparring
WORKDIR /home/sparring
EXPOSE 8000
ENTRYPOINT ["sparring"]
CMD ["doctor"]
