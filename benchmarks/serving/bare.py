"""A web app that does nothing but await the program: what `mlflow models serve` is measured against.

Run by uvicorn; BENCHMARK_API_BASE says where the language model is.
"""

import os

from fastapi import FastAPI

from benchmarks.serving.program import make_program

app = FastAPI()
program = make_program(os.environ["BENCHMARK_API_BASE"])


@app.get("/ping")
async def ping() -> str:
    """Say that it answers."""
    return ""


@app.post("/invocations")
async def invocations(fields: dict[str, str]) -> dict[str, str]:
    """Answer one question."""
    return (await program.acall(**fields)).toDict()
