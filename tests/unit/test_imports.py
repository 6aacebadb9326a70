"""The imports of the package as a graph; `make lint` checks the layers."""

from __future__ import annotations

from graphlib import TopologicalSorter

import grimp


def test_no_module_imports_itself_through_others() -> None:
    """Include type annotations, and imports of a folder by a module in it, which import-linter does not compare."""
    graph = grimp.build_graph("livecheck_celery", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the modules
