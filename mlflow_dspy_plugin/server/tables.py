"""How much a table in a body becomes once it is unpacked."""

import io

from starlette.exceptions import HTTPException

PARQUET = "application/vnd.apache.parquet"
# Of a value in pandas: a number, or where a text is.
_CELL_BYTES = 8


def check_unpacked(body: bytes, media_type: str, most: int) -> None:
    """Refuse a table that is small only as long as it is packed: a kilobyte can stand for a billion rows.

    Args:
        body: The table.
        media_type: Its format; only parquet packs.
        most: The most bytes that it may become.

    Raises:
        HTTPException: If it becomes more (413).
    """
    if media_type != PARQUET:
        return
    # Takes a tenth of a second to import, and few send tables.
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        told = ParquetFile(io.BytesIO(body)).metadata
        groups = sum(told.row_group(place).total_byte_size for place in range(told.num_row_groups))
    except (ArrowException, OSError):
        # What it is instead is told where it is read.
        return
    unpacked = max(groups, told.num_rows * told.num_columns * _CELL_BYTES)
    if unpacked > most:
        raise HTTPException(413, f"The table becomes {unpacked} bytes, and may become {most}. Send fewer rows at once.")
