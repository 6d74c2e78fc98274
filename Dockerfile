# The web demo on a CPU. Other computers can reach the container, so users must log in:
#   docker build -t lip2speech .
#   docker run --rm -p 127.0.0.1:7860:7860 -v "$PWD/users.txt:/run/users.txt:ro" lip2speech
# users.txt holds one NAME:PASSWORD per line. Voices are stored in /voices; -v lip2speech-voices:/voices keeps them.
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# The default PyTorch for Linux includes CUDA. For the CPU build, pass the index URL from PyTorch's "Start Locally".
ARG TORCH_INDEX=""
RUN if [ -n "$TORCH_INDEX" ]; then pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch>=2.14,<2.15" "torchaudio>=2.11,<2.12"; fi

WORKDIR /app
COPY pyproject.toml README.md LICENSE NOTICE.md ./
COPY lip2speech lip2speech
RUN pip install --no-cache-dir ".[demo]" && useradd --create-home speaker && mkdir /voices && chown speaker /voices

USER speaker
ENV LIP2SPEECH_VOICES=/voices
EXPOSE 7860
CMD ["lip2speech", "demo", "--host", "0.0.0.0", "--auth-file", "/run/users.txt"]
