#!/usr/bin/env bash
# JAX 0.10.2: an entry of the persistent compilation cache that was cut off is never written again.
#
# Entries are written in place, under their final name. One whose process was killed meanwhile, or that another
# process is still writing, is found short: JAX warns, compiles, and leaves the entry as it is, since a file of
# that name exists. So each later process warns and compiles too, until somebody deletes the file.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2

cat > "$folder/program.py" <<'PROGRAM'
import sys
import warnings

import jax

jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(
    lambda event, **facts: hits.append(event) if event.endswith("cache_hits") else None
)
program = jax.jit(lambda x: (x @ x).sum()).lower(jax.ShapeDtypeStruct((3, 3), "float32"))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    program.compile()
print("found in the cache" if hits else "compiled", "with a warning" if told else "without a warning")
PROGRAM

run() { JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/program.py" "$folder/cache"; }

expected="compiled without a warning
found in the cache without a warning
the entry is cut in half
compiled with a warning
compiled with a warning
the entry is as short as it was
the entry is deleted
compiled without a warning
found in the cache without a warning"
seen=$(
    run
    run
    entry=$(ls "$folder"/cache/*-cache)
    half=$(($(stat -c %s "$entry") / 2))
    truncate -s "$half" "$entry"
    echo "the entry is cut in half"
    run
    run
    [ "$(stat -c %s "$entry")" = "$half" ] && echo "the entry is as short as it was"
    rm "$entry"
    echo "the entry is deleted"
    run
    run
)
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
