# Sparring on CPUs.   docker build -f docker/cpu.Dockerfile -t sparring . && docker run --rm -v "$PWD/runs:/work/runs" sparring demo
# Processes run as a user without rights; runs/ must be writable for it (or run with --user "$(id -u)").
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN pip install --index-url https://download.pytorch.org/whl/cpu "torch>=2.6"
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src ./src
RUN pip install --constraint constraints.txt ".[serve]" && rm -rf /src
RUN useradd --create-home --uid 1000 sparring && mkdir -p /work/runs && chown -R sparring /work
USER sparring
WORKDIR /work
EXPOSE 8080
ENTRYPOINT ["sparring"]
CMD ["doctor"]
