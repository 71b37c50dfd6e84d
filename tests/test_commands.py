# Generated from nbs/89_commands.ipynb; edit the notebook, not this file
import math, sys, warnings
from fastcore.script import Param, call_parse
from stereo_kd.cli import DEFAULT_MODEL, Dash, Late, Maybe, one_line, parse_model, parse_scale, parse_size
import os, subprocess, tempfile
import numpy as np
from contextlib import redirect_stderr, redirect_stdout
from contextvars import Context
from fastcore.script import anno_parser
from fastcore.test import *
from importlib.metadata import entry_points
from io import StringIO
from pathlib import Path
from PIL import Image
from time import perf_counter
from types import SimpleNamespace
from unittest.mock import patch
from torch import nn
from stereo_kd.core import denormalize
from stereo_kd.data.io import read_disparity, read_pixels
import pytest
from stereo_kd.commands import *

def test_predict_command():
    import torch
    from stereo_kd.inference.files import predict_files, Video
    from stereo_kd.inference.points import to_depth, write_ply
    from stereo_kd.inference.predict import predict
    class Net(nn.Module):
        max_disp = 8
        def forward(self, left, right): return SimpleNamespace(disparity=[3+denormalize(left)[:,0]*50])
    read = []
    def load(name, reading):
        read.append(reading)
        if name not in ('dtpnet',DEFAULT_MODEL): raise ValueError(f'unknown model {name}')
        return Net()
    def script(*args):
        "Exit code, stdout, stderr"
        g = dict(__name__='__main__', __file__='/x/stereo_predict', stereo_predict=stereo_predict)
        with patch.object(
            sys, 'argv', ['stereo_predict',*map(str, args)]), patch.dict(predict_files.__globals__, load_model=load), \
             redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            try:
                Context().run(exec, compile('stereo_predict()', g['__file__'], 'exec'), g)
                code = 0 # nbdev_test is such a script itself
            except SystemExit as e: code = e.code
        return code,out.getvalue(),err.getvalue()
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        l,r = d/'l.png',d/'r.png'
        for k,f in enumerate((l,r)):
            Image.fromarray(np.random.default_rng(k).integers(0, 256, (6,9,3), dtype=np.uint8)).save(f)
        want = predict(Net(), l, r)
        code,out,err = script(l, r, '-o', d/'new'/'a.pfm')
        test_eq((code,err), (0,''))
        test_eq(out.count('\n'), 1)
        test_eq(read_disparity(d/'new/a.pfm'), want)
        black = np.zeros((6,9,3), np.uint8)
        Image.fromarray(black).save(d/'black.png')
        black[:,:3] = 51
        Image.fromarray(black).save(d/'edge.png') # 13 px, of which nothing is in view, beside 3 px
        script(d/'edge.png', d/'black.png', '-o', d/'checked.npy', '--post', 'left_right')
        test_close(read_disparity(d/'checked.npy'), np.full((6,9), 3.))
        script(d/'edge.png', d/'black.png', '-o', d/'filtered.npy', '--post', 'filter', '--align')
        test_eq(read_disparity(d/'filtered.npy'), predict(Net(), d/'edge.png', d/'black.png', align=True, post='filter'))
        code,_,err = script(l, r, '-o', d/'tiled.npy', '--tile', '4x8')
        test_eq((code,err), (0,''))
        test_close(read_disparity(d/'tiled.npy'), want, eps=1e-4)
        script(l, r, '-o', d/'a.png', '--raw', '--device', 'cpu', '--reading', 'mode')
        test_eq(read[-2:], [None,'mode'])
        test_eq(read_pixels(d/'a.png').dtype, np.uint16)
        script(l, r, '-o', d/'a.png')
        test_eq(read_pixels(d/'a.png').shape, (6,9,3))
        script(
            l, r, '-o', d/'a.ply', '--focal', 100, '--baseline', .1, '--cx', 1, '--cy', 2, '--doffs', 3,
            '--max_depth', .5)
        write_ply(d/'b.ply', want, l, 100, .1, 1, 2, 3, .5)
        test_eq((d/'a.ply').read_bytes(), (d/'b.ply').read_bytes())
        (d/'b.ply').unlink()
        (d/'calib.txt').write_text('cam0=[100 0 1; 0 100 2; 0 0 1]\ncam1=[100 0 4; 0 100 2; 0 0 1]\ndoffs=3\nbaseline=100\nwidth=9\nheight=6\nndisp=8')
        script(l, r, '-o', d/'c.ply', '--calib', d/'calib.txt', '--max_depth', .5) # 100 mm in the file
        test_eq((d/'c.ply').read_bytes(), (d/'a.ply').read_bytes())
        script(l, r, '--o', d/'c.ply', '--calib', d/'calib.txt', '--max_depth', .5, '--focal', 50)
        assert (d/'c.ply').read_bytes()!=(d/'a.ply').read_bytes() # what is given counts
        script(l, r, '-o', d/'z.npy', '--depth', '--calib', d/'calib.txt')
        test_eq(read_disparity(d/'z.npy'), to_depth(want, 100, .1, 3))
        code,out,err = script(l, r, '-o', d/'e.npy', '--occlusion', d/'hidden.png', '--engine', 'torch')
        test_eq(set(np.unique(read_pixels(d/'hidden.png')))<={0,255}, True)
        for side,f in (('left',l),('right',r)):
            (d/side).mkdir()
            for k in 'ab': (d/side/f'{k}.png').write_bytes(f.read_bytes())
        code,out,err = script(d/'left', d/'right', '-o', d/'maps/{}.pfm')
        test_eq((code,out.count('\n')), (0,1))
        for k in 'ab': test_eq(read_disparity(d/f'maps/{k}.pfm'), want)
        script(f'{d}/left/*.png', f'{d}/right/*.png', '-o', d/'out.mp4', '--fps', 4)
        test_eq((Video(d/'out.mp4').count,Video(d/'out.mp4').fps), (2,4.))
        (d/'half.png').write_bytes(l.read_bytes()[:60])
        Image.new('RGB', (8,6)).save(d/'small.png')
        bad = [
            ('none.png does not exist', 'none.png', r, 'b.png'),
            ('half.png is a truncated or damaged PNG', l, d/'half.png', 'b.png'),
            ('left is 9x6 px and right 8x6 px', l, d/'small.png', 'b.png'),
            ('b.gif: the output must end in', l, r, 'b.gif'),
            ('needs --calib, --rectify, or --focal (px)', l, r, 'b.ply'), ('is no calibration', l, r, 'b.ply', '--calib', l),
            ('4 px wide after scaling', l, r, 'b.png', '--scale', .5),
            ('a tile is 4 px wide, less than the 8 px', l, r, 'b.png', '--tile', '4x4'),
            ('size must be HEIGHTxWIDTH', l, r, 'b.png', '--tile', 'small'),
            ('unknown model none', l, r, 'b.png', '--model', 'none'),
            ('--raw is for .png', l, r, 'b.pfm', '--raw'),
            ("post must be 'none', 'filter' or 'left_right', got 'both'", l, r, 'b.pfm', '--post', 'both'),
            ("unknown device 'gpu9'", l, r, 'b.png', '--device', 'gpu9'),
            ('no device cuda:99', l, r, 'b.png', '--device', 'cuda:99'),
            ('l.png is the input', l, r, 'l.png'), ('cannot write', l, r, l/'b.png')]
        for words,left,right,file,*options in bad:
            code,out,err = script(left, right, '-o', d/file, *options)
            test_eq((code,out), (2,''))
            assert words in err and err.startswith('stereo_predict: '), err
            assert err.count('\n')==1 and 'Errno' not in err, err
        code,out,err = script(l, r)
        test_eq(code, 2)
        assert '-o' in err
        assert not list(d.glob('b.*'))
        def hungry(self, left, right): raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")
        with patch.object(Net, 'forward', hungry): code,out,err = script(l, r, '-o', d/'b.png')
        test_eq([code,out], [2,''])
        assert err.startswith('stereo_predict: out of memory; try a smaller --scale') and err.count('\n')==1, err

def test_finetune_passes_its_options_on():
    from stereo_kd import commands
    asked = []
    with patch.object(commands, 'tuning', SimpleNamespace(finetune_files=lambda *a,**kw: asked.append((a,kw)))):
        commands.stereo_finetune('d', 'o.safetensors', disp='gt/{}', disp_scale=100., freeze='features', size='64x128', run_dir='r')
    where = dict(left=None, right=None, disp='gt/{}', scale=100.)
    how = dict(steps=500, size=(64,128), lr=3e-4, freeze='features', mix=.5, seed=0)
    test_eq(asked, [(('d','o.safetensors',DEFAULT_MODEL,'folder',where,None,'r'),how)])

def test_demo_ends_with_one_line():
    import stereo_kd.demo # what its imports say to a notebook is theirs
    with redirect_stderr(StringIO()) as said: test_fail(lambda: stereo_demo(model='none', browser=False), exc=SystemExit)
    assert said.getvalue().startswith('stereo_demo: ') and said.getvalue().count('\n')==1, said.getvalue()

def test_commands_call_with_their_options():
    from stereo_kd import commands
    def told(module, function, command, line):
        calls = []
        parsed = vars(anno_parser(command).parse_args(line.split()))
        for k in ('pdb','xtra'): parsed.pop(k)
        with patch.object(commands, module, SimpleNamespace(**{function: lambda *a,**kw: calls.append((a, kw))})): command(**parsed)
        return calls
    how = dict(max_disp=0, align=False, post='none', scale=1., device=None, engine='torch', reading=None)
    where = dict(mask='all', part=None, edition=None, resolution=None, split='', n=None)
    for line,model,folder,out,changed in (
        ('folder d', 'dtpnet', None, None, {}), ('folder d --model x -o r.csv', 'x', None, 'r.csv', {}),
        ('folder d --folder e --o r.csv --n 3 --mask noc', None, 'e', 'r.csv', dict(n=3, mask='noc')),
        ('folder d --align --post filter --scale .5 --device cuda --engine auto --reading mode', 'dtpnet', None, None,
         dict(align=True, post='filter', scale=.5, device='cuda', engine='auto', reading='mode'))):
        (args,kw),= told('evaluation', 'evaluate_files', commands.stereo_eval, line)
        test_eq(args, ('folder','d',model,folder,None,{**where, **{k:v for k,v in changed.items() if k in where}},out,None))
        test_eq(kw, {**how, **{k:v for k,v in changed.items() if k in how}})
    (args,_),= told('export', 'export_file', commands.stereo_export,
                    'n p.onnx --size 48x96 --tail none --images normalised --left l --right r --int8 d')
    test_eq(args, ('n','p.onnx','48x96','none','normalised','l','r','d'))
    (args,_),= told('zoo', 'import_file', commands.stereo_import, 'a.tar -o b.safetensors --network psmnet')
    test_eq(args, ('a.tar','b.safetensors','psmnet'))
    (args,_),= told('speed', 'bench_networks', commands.stereo_bench,
                    'a b --size 96x192 48x64 --threads 1 2 --engine eager folded --rounds 3 --sgbm hh -o rows.csv')
    test_eq(args, (['a','b'],['eager','folded'],['96x192','48x64'],[1,2],3,['hh'],'rows.csv'))
    (args,kw),= told('adaptation', 'adapt_files', commands.stereo_adapt,
                     'd -o a.safetensors --teacher dtpnet --steps 7 --left l/{} --right r/{} --size 48x96 --run_dir run')
    test_eq(args, ('d','a.safetensors','dtpnet','dtpnet','l/{}','r/{}',None,'run'))
    test_eq(kw, dict(steps=7, size=(48,96), seed=0))
    (args,_),= told('fuzz', 'fuzz_readers', commands.stereo_kd_fuzz, '--readers texts --inputs 7 --seed 2 --o f.csv')
    test_eq(args, (['texts'],7,2,'f.csv'))
    failing = patch.object(commands, 'fuzz', SimpleNamespace(fuzz_readers=lambda *a: 2))
    with failing: test_fail(commands.stereo_kd_fuzz, args=['texts'], exc=SystemExit)

def test_every_command_ends_with_one_line():
    from stereo_kd import commands
    def refuse(*args, **kw): raise ValueError('a.png is damaged')
    for module,function,command,args in (
        ('files','predict_files',commands.stereo_predict,('l','o.png','r')),
        ('tuning','finetune_files',commands.stereo_finetune,('d','o.safetensors')), ('evaluation','evaluate_files',commands.stereo_eval,('folder','d')),
        ('export','export_file',commands.stereo_export,('n','p')), ('speed','bench_networks',commands.stereo_bench,(['a'],))):
        with patch.object(commands, module, SimpleNamespace(**{function: refuse}, Look=lambda *a: a)), redirect_stderr(StringIO()) as said:
            test_fail(lambda: command(*args), exc=SystemExit, contains=f'{command.__name__}: a.png is damaged')
        test_eq(said.getvalue(), f'{command.__name__}: a.png is damaged\n')

def test_own_networks_are_known_to_commands():
    from stereo_kd.commands import stereo_bench, stereo_predict
    from stereo_kd.models.zoo import create_model, models, save_model
    own = '''from torch import nn
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import correlation_volume
from stereo_kd.models.zoo import register_model

class Own(StereoNet):
    def __init__(self, max_disp=48, width=4):
        super().__init__(max_disp)
        self.conv,self.score = nn.Conv2d(3, width, 4, 4),nn.Conv2d(max_disp//4, max_disp//4, 1)
    def features(self, image, extras): return [self.conv(image)]
    def cost_volume(self, left, right, extras): return correlation_volume(left[-1], right[-1], self.max_disp//4)
    def aggregation(self, volume, left, right, extras, all_outputs): return [self.score(volume)]

register_model('own_of_test', Own)
'''
    def run(command, *args):
        parsed = vars(anno_parser(command).parse_args([*map(str, args)]))
        for k in ('pdb','xtra'): parsed.pop(k)
        with redirect_stdout(StringIO()) as said: command(**parsed)
        return said.getvalue()
    try:
        with tempfile.TemporaryDirectory() as d:
            d = Path(d)
            (d/'my_nets.py').write_text(own)
            image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48,64,3), dtype=np.uint8))
            for v in ('left','right'): image.save(d/f'{v}.png')
            table = run(stereo_bench, f'{d}/my_nets.py:own_of_test:width=8', 'dtpnet_lite', '--size', '48x64', '--rounds', 1)
            assert 'own_of_test' in table and 'dtpnet_lite' in table
            save_model(create_model('own_of_test', width=6), d/'own.safetensors')
            del models['own_of_test'] # as in a process that has not seen it
            with redirect_stderr(StringIO()) as said:
                pair = (d/'left.png', d/'right.png', '-o', d/'o.npy', '--no-check')
                test_fail(lambda: run(stereo_predict, *pair, '--model', d/'own.safetensors'), exc=SystemExit)
            assert 'my_nets.py:' in said.getvalue(), said.getvalue()
            sys.modules.pop(str((d/'my_nets.py').resolve()))
            named = f"{d/'my_nets.py'}:{d/'own.safetensors'}"
            run(stereo_predict, *pair, '--model', named)
            test_eq(np.load(d/'o.npy').shape, (48,64))
    finally: models.pop('own_of_test', None)

@pytest.mark.serial
def test_help_imports_no_torch():
    HEAVY = ('torch','torch._dynamo','pandas','matplotlib.pyplot','fastai','fastai.vision','cv2','numba')
    code = '''if 1: # what the installed script does, and what it leaves behind
    import sys
    from {module} import {name}
    try: {name}()
    except SystemExit as e: print('code', e.code, *(m for m in {heavy} if m in sys.modules))'''
    ours = {e.name:e.module for e in entry_points(group='console_scripts') if e.value.startswith('stereo_kd')}
    assert {'stereo_predict','stereo_eval','stereo_export','stereo_bench','stereo_kd_prepare','stereo_kd_fuzz'}<=set(ours)
    for name,module in ours.items():
        with tempfile.TemporaryDirectory() as d:
            script = Path(d)/name
            script.write_text(code.format(module=module, name=name, heavy=HEAVY))
            start = perf_counter()
            done = subprocess.run([sys.executable, str(script), '--help'], capture_output=True, text=True)
            seconds = perf_counter()-start
        test_eq((name,done.stdout.splitlines()[-1:]), (name,['code 0']))
        assert 'usage: ' in done.stdout and name in done.stdout and seconds<5, (name, seconds, done.stdout, done.stderr)

@pytest.mark.serial
def test_a_prediction_imports_what_it_needs():
    HEAVY = ('torch._dynamo','torch._inductor','sympy','pandas','matplotlib.pyplot','fastai','fastai.vision')
    code = '''if 1:
    import sys, numpy as np
    from stereo_kd.inference.predict import predict
    loaded = lambda: print(*(m for m in {heavy} if m in sys.modules))
    loaded()
    predict('dtpnet_lite', *np.random.default_rng(0).random((2,32,200,3), dtype=np.float32))
    loaded()'''
    done = subprocess.run([sys.executable, '-c', code.format(heavy=HEAVY)], capture_output=True, text=True)
    test_eq((done.returncode,done.stdout), (0,'\n\n'))
