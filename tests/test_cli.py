# Generated from nbs/00_cli.ipynb; edit the notebook, not this file
import argparse, gc, os, re, sys
from contextlib import contextmanager, suppress
from fastcore.script import Param
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
import subprocess, tempfile
from contextlib import redirect_stderr
from fastcore.test import *
from io import StringIO
from time import perf_counter
import pytest
from stereo_kd.cli import *

def test_late_is_late():
    with tempfile.TemporaryDirectory() as d:
        Path(d, 'some_late_module.py').write_text('import gc\ncollecting = gc.isenabled()\ndef f(): return 3')
        sys.path.insert(0, d)
        try:
            m = Late('some_late_module')
            assert 'some_late_module' not in sys.modules
            test_eq(m.f(), 3)
            assert 'some_late_module' in sys.modules and not m.collecting and gc.isenabled()
            test_fail(lambda: m.g, exc=AttributeError, contains='g')
            test_fail(lambda: Late('no_such_module').x, exc=ModuleNotFoundError, contains='no_such_module')
            assert gc.isenabled()
        finally:
            sys.path.remove(d)
            sys.modules.pop('some_late_module', None)

def test_one_letter_one_dash_or_two():
    from fastcore.script import anno_parser
    must,may = Dash('where to', 'OUT'),Dash('rows', 'CSV', required=False)
    def g(a:str, o:must, b:Maybe('the second')=None): "Example"
    parser = anno_parser(g, 'g')
    for args,b in ((['x','-o','z'],None), (['x','y','-o','z'],'y'), (['-o','z','x','y'],'y')):
        test_eq([vars(parser.parse_args(args))[k] for k in 'aob'], ['x','z',b])
    def f(o:must, r:may=None): "Example"
    parser = anno_parser(f, 'f')
    for args in (['-o','x','-r','y'], ['--o','x','--r','y'], ['--o=x','-ry']):
        told = parser.parse_args(args)
        test_eq((told.o,told.r), ('x','y'))
    test_eq(parser.parse_args(['-o','x']).r, None)
    assert '-o OUT' in parser.format_help()
    with redirect_stderr(StringIO()) as err: test_fail(lambda: parser.parse_args([]), exc=SystemExit)
    assert '-o' in err.getvalue()

def test_size_strings():
    test_eq(parse_size(' 480X640 '), (480,640))
    for wrong in ('480', '480x', 'x', '0x640', '480x640x3', '48 0x640'):
        test_fail(lambda: parse_size(wrong), contains=f"like 480x640, got '{wrong}'")
    test_eq([parse_scale(' .5'),parse_scale('auto')], [.5,'auto'])
    test_fail(lambda: parse_scale('best'), exc=argparse.ArgumentTypeError, contains="a number or 'auto', got 'best'")
    check_threads(2)
    check_threads(None)
    for wrong in (0, -1, 1_000_000): test_fail(lambda: check_threads(wrong), contains=f'on this machine, got {wrong}')

def test_a_module_on_the_command_line_is_imported_once():
    import builtins
    from tempfile import TemporaryDirectory
    from unittest.mock import patch
    builtins.imported = []
    try:
        with TemporaryDirectory() as d,patch.object(sys, 'path', [d, *sys.path]):
            (Path(d)/'own.py').write_text("import builtins\nbuiltins.imported.append(__name__)")
            (Path(d)/'pack_of_tests').mkdir()
            (Path(d)/'pack_of_tests'/'nets.py').write_text("import builtins\nbuiltins.imported.append(__name__)")
            for text,name in (
                ('dtpnet','dtpnet'), ('a/b.safetensors','a/b.safetensors'), ('madis:size=tiny','madis:size=tiny'),
                ('hub:me/net','hub:me/net'), (r'C:\a.safetensors',r'C:\a.safetensors'),
                (f'{d}/own.py:x.safetensors','x.safetensors'), (f'{d}/own.py:own:width=4','own:width=4'),
                ('pack_of_tests.nets:own','own')): test_eq(parse_model(text), name)
            test_eq(builtins.imported, ['own','pack_of_tests.nets'])
            test_fail(lambda: parse_model(f'{d}/none.py:x'), exc=argparse.ArgumentTypeError, contains='cannot import')
            test_fail(lambda: parse_model('no_such.module:x'), exc=argparse.ArgumentTypeError, contains='no_such')
            (Path(d)/'bad.py').write_text("1/0")
            for _ in range(2): test_fail(lambda: parse_model(f'{d}/bad.py:x'), exc=ZeroDivisionError)
    finally: del builtins.imported

def test_a_command_ends_with_one_line():
    from contextlib import redirect_stderr
    from io import StringIO
    def run(e, **kw):
        with redirect_stderr(StringIO()) as said:
            try:
                with one_line('stereo_x', 'less', **kw): raise e
            except Refused as done: return done.code,said.getvalue(),str(done)+'\n'
    for e,words in ((ValueError('a.png is damaged'),'a.png is damaged'),
                    (FileNotFoundError(2, 'No such file', 'a.png'),'a.png: No such file'),
                    (MemoryError(),'out of memory; try less'),
                    (RuntimeError('std::bad_alloc'),'out of memory; try less')):
        code,said,text = run(e)
        test_eq([code,said,text], [2,f'stereo_x: {words}\n',said])
    test_fail(lambda: run(RuntimeError('a bug')), exc=RuntimeError, contains='a bug')
    test_eq(run(RuntimeError('needs onnx'), foreseen=RuntimeError)[1], 'stereo_x: needs onnx\n')
    assert out_of_memory(MemoryError()) and not out_of_memory(ValueError('a.png is damaged'))

@pytest.mark.slow
def test_memory_that_is_not_there_is_refused():
    import sys, torch
    code = '''if 1:
    import numpy, torch
    from stereo_kd import cli
    limit = cli.limit_memory
    cli.limit_memory = lambda: limit(300*2**20) # as if 300 MiB were free
    for ask in (lambda: torch.ones(2**28), lambda: numpy.ones(2**28), lambda: bytearray(2**30),
                lambda: [torch.ones(2**20) for _ in range(1000)], lambda: torch.ones(2**20)):
        try:
            with cli.one_line('stereo_x', 'less'): ask()
        except cli.Refused as e: print(e)
    print('done', len(torch.ones(2**27)))''' # 512 MiB: the limit is gone
    if sys.platform=='linux' and not torch.cuda.is_available():
        done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
        said = 'stereo_x: out of memory; try less\n'
        test_eq([done.returncode,done.stdout,done.stderr], [0,4*said+f'done {2**27}\n',4*said])
    with limit_memory(): test_eq(torch.ones(9).sum().item(), 9)
