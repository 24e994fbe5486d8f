import os

# Before torch and matplotlib are imported: small tests are fastest on one thread, and draw no
# window.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import cl_bnn  # noqa: E402, F401  (makes Avalanche importable for every test)
