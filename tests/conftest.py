"Settings shared by all tests; the tests themselves are generated from the notebooks"
import os
os.environ.setdefault('MPLBACKEND', 'Agg') # no window, whatever the machine shows

import fastcore.test, matplotlib, pytest, torch

MARKERS = dict(slow='takes longer than a second', serial='takes times or sets threads: nothing runs beside it', cuda='needs a CUDA GPU', data='needs real pairs, see STEREO_KD_REAL')

matplotlib.use('Agg')
# the same number on every machine, for the same sums; a worker of pytest-xdist shares the cores with another
torch.set_num_threads(1 if 'PYTEST_XDIST_WORKER' in os.environ else min(2, os.cpu_count() or 1))

# `from fastcore.test import *` puts `test_eq` and friends into every test file: helpers, not tests
for name in fastcore.test.__all__:
    helper = getattr(fastcore.test, name)
    if name.startswith('test') and callable(helper): helper.__test__ = False

# said while torch and fastai are imported; nothing here can act on it
NOISE = 'ignore:`torch.jit.script` is deprecated', "ignore:The 'mode.chained_assignment' option"

def pytest_configure(config):
    for name,meaning in MARKERS.items(): config.addinivalue_line('markers', f'{name}: {meaning}')
    for warning in NOISE: config.addinivalue_line('filterwarnings', warning)

def pytest_collection_modifyitems(items):
    if torch.cuda.is_available(): return
    for item in items:
        if 'cuda' in item.keywords: item.add_marker(pytest.mark.skip(reason='no CUDA GPU here'))

@pytest.fixture(autouse=True)
def close_figures():
    "Drop the pictures of a test when it ends"
    yield
    import matplotlib.pyplot as plt
    plt.close('all')
