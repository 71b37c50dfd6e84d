# Generated from nbs/87_deploy.auto.ipynb; edit the notebook, not this file
from functools import partial
from stereo_kd.deploy.engine import ENGINES, Engine, missing
from stereo_kd.inference.engines import Auto, Way, ways
import numpy as np, subprocess, sys, torch
from fastcore.test import *
from time import perf_counter
from unittest import mock
from torch import nn
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.deploy.engine import list_engines
from stereo_kd.inference import engines
from stereo_kd.inference.predict import predict
from stereo_kd.models.zoo import create_model, load_model
from stereo_kd.deploy.auto import *

def test_auto_is_the_network():
    from stereo_kd.deploy.auto import register_engines
    before = list(ways)
    register_engines()
    test_eq(list(ways), before) # twice is once
    torch.manual_seed(0)
    net = create_model('dtpnet_lite', max_disp=48).eval()
    left,right = torch.rand(2, 3, 40, 90)
    want = predict(net, left, right, engine='torch')
    for name in [n for n in engines.list_ways() if n in ('torch','auto',*list_engines()) and n!='compile' and n[-4:] not in ('bf16','int8')]:
        test_close(predict(net, left, right, engine=name), want, eps=1e-3)
    assert np.abs(predict(net, left, right, engine='bf16')-want).mean()>1e-5 # it rounds,
    for name in ('bf16','openvino_bf16','openvino_int8','compile','plain'): test_eq(ways[name].seconds, float('inf')) # so auto leaves it alone
    test_fail(lambda: predict(net, left, right, engine='tpu'), exc=ValueError, contains="unknown engine 'tpu'; known: auto, torch, plain")
    absent = mock.patch('stereo_kd.deploy.engine.installed_runtimes', lambda: [])
    with absent:
        other = create_model('dtpnet_lite', max_disp=48)
        test_fail(lambda: predict(other, left, right, engine='openvino'), exc=ValueError, contains="'openvino' needs openvino: pip install")
        assert not ways['openvino'].here() and ways['folded'].here()

def test_auto_tries_what_is_installed():
    torch.manual_seed(0)
    left,right = torch.rand(2, 3, 40, 90)
    cheap = {n: w._replace(seconds=min(w.seconds, 1e-9 if w.seconds else 0.)) if w.seconds<float('inf') else w for n,w in engines.ways.items()}
    net = create_model('dtpnet_lite', max_disp=48).eval()
    want = predict(net, left, right, engine='torch')
    with mock.patch.object(engines, 'ways', cheap):
        auto = engines.Auto(net, kernels=True)
        for _ in range(14): test_close(predict(auto, left, right), want, eps=1e-2)
    found = next(iter(engines._memory(net).choices.values()))
    test_eq(found.tried, {'folded'}|{'openvino','onnxruntime'}&set(list_engines()))
    test_eq(auto.name, found.name)
    tiled = predict(net, left, right, engine='torch', tile=(32,60))
    test_close(predict(net, left, right, tile=(32,60)), tiled, eps=1e-2)
