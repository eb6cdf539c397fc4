"""Whether this code runs where Spark calls a model."""

import sys


def in_spark_task() -> bool:
    """Whether a task of Spark runs in this process; nothing of Spark is imported to find out."""
    pyspark = sys.modules.get("pyspark")
    return pyspark is not None and pyspark.TaskContext.get() is not None
