"""A size of the benchmark that takes no time."""

from twinplate.bench.workload import Size

TINY = Size(num_items=64, num_features=6, num_components=4, batch_size=16, hidden_width=8)
