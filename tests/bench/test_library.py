import pytest

from studio.bench.library import measure_library

COUNT = 60


@pytest.mark.slow
def test_a_small_collection_is_made_measured_and_deleted(tmp_path):
    figures = measure_library(tmp_path, COUNT)
    assert "scan of 60 model files" in figures
    assert figures["files whose kind was not known"].value == 0
    assert figures["GET / requests during the scan"].value >= 1
    assert all(figure.value > 0 for name, figure in figures.items() if name != "files whose kind was not known")
    assert list(tmp_path.iterdir()) == []
