# The page on a CPU. Others than this container can reach it, so it wants users:
#   docker build -t lip2speech .
#   docker run --rm -p 127.0.0.1:7860:7860 -v "$PWD/users.txt:/run/users.txt:ro" lip2speech
# users.txt holds lines NAME:PASSWORD. Enrolled voices live in /voices: add -v lip2speech-voices:/voices to keep them.
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# The default PyTorch for Linux carries CUDA; give the index of the CPU build that PyTorch's own page names.
ARG TORCH_INDEX=""
RUN if [ -n "$TORCH_INDEX" ]; then pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch>=2.14,<2.15" "torchaudio>=2.11,<2.12"; fi

WORKDIR /app
COPY pyproject.toml README.md LICENSE NOTICE.md ./
COPY lip2speech lip2speech
COPY demo demo
RUN pip install --no-cache-dir ".[demo]" && useradd --create-home speaker && mkdir /voices && chown speaker /voices

USER speaker
ENV LIP2SPEECH_VOICES=/voices
EXPOSE 7860
CMD ["python", "-m", "lip2speech.web.app", "--host", "0.0.0.0", "--users", "/run/users.txt"]
