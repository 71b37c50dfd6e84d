# Generated from nbs/36_models.hub.ipynb; edit the notebook, not this file
from contextlib import contextmanager
from pathlib import Path
import tempfile
from fastcore.test import *
from stereo_kd.testing import local_hub
from unittest.mock import patch
from stereo_kd.models.hub import *

def test_files_go_up_and_come_down():
    repos = {}
    with local_hub(repos) as address,tempfile.TemporaryDirectory() as d:
        (Path(d)/'up').mkdir()
        for name,text in (('model.safetensors','weights'),('README.md','card')): (Path(d)/'up'/name).write_text(text)
        test_eq(hub_upload(f'{d}/up', 'me/net', token='hf_test', endpoint=address), f'{address}/me/net')
        test_eq(repos, {'me/net':{'model.safetensors':b'weights', 'README.md':b'card'}})
        how = dict(endpoint=address, cache_dir=f'{d}/cache')
        test_eq(hub_file('me/net', **how).read_text(), 'weights')
        test_eq(hub_file('me/net@main', **how).read_text(), 'weights')
        (Path(d)/'up'/'model.safetensors').write_text('better')
        hub_upload(f'{d}/up', 'me/net', token='hf_test', endpoint=address) # a second time: the same repository
        test_eq(repos['me/net']['model.safetensors'], b'better')

def test_a_hub_answers_in_a_sentence():
    repos = {'me/pickles':{'pytorch_model.bin':b'', 'README.md':b''}, 'me/two':{'a.safetensors':b'1', 'b.safetensors':b'2'}}
    with local_hub(repos) as address,tempfile.TemporaryDirectory() as d:
        how = dict(endpoint=address, cache_dir=d)
        for call,kind,words in (
            (lambda: hub_file('me/nothing', **how), FileNotFoundError, 'no such repository me/nothing'),
            (lambda: hub_file('me/pickles', **how), FileNotFoundError,
             'me/pickles has no model.safetensors; it has no safetensors file, but pytorch_model.bin, README.md'),
            (lambda: hub_file('me/two', **how), FileNotFoundError, 'it has a.safetensors, b.safetensors'),
            (lambda: hub_file('me/pickles', 'pytorch_model.bin', **how), ValueError, 'opening others can run code'),
            (lambda: hub_file('me and you/two', **how), ValueError, "named like owner/name, got 'me and you/two'"),
            (lambda: hub_upload(d, 'me/new', token=False, endpoint=address), PermissionError, 'hf auth login, or pass token')):
            test_fail(call, exc=kind, contains=words)
        test_eq(hub_file('me/two', 'b.safetensors', **how).read_bytes(), b'2')
    with tempfile.TemporaryDirectory() as d,patch('huggingface_hub.constants.HF_HUB_OFFLINE', True):
        test_fail(
            lambda: hub_file('me/net', endpoint='http://127.0.0.1:9', cache_dir=d), exc=ConnectionError,
            contains='http://127.0.0.1:9 cannot be reached, and me/net was not downloaded before')
