# Generated from nbs/02_testing.ipynb; edit the notebook, not this file
import ast, json, os, posixpath, re
from collections import Counter
from pathlib import Path
from statistics import median
from typing import NamedTuple
from unittest import SkipTest
from fastcore.script import call_parse
from fastcore.test import *
from tempfile import TemporaryDirectory
from unittest.mock import patch
import matplotlib.pyplot as plt
from stereo_kd.testing import *

def test_real_data_from_environment():
    with TemporaryDirectory() as tmp:
        with patch.dict(os.environ, STEREO_KD_REAL=tmp): test_eq(real_data(), Path(tmp))
        with patch.dict(os.environ, STEREO_KD_REAL=tmp+'/none'):
            test_fail(real_data, contains='is not a folder', exc=ValueError)
    with patch.dict(os.environ, STEREO_KD_REAL=''): test_fail(real_data, contains='names no folder', exc=SkipTest)

def test_directives_lead_the_cell():
    test_eq(
        split_directives('#| hide\n# | test a\nx = 1\n#| slow'),
        (dict(hide=[], test=['a']), 'x = 1\n#| slow'))
    test_eq(split_directives('#| echo: false\nx'), (dict(echo=['false']), 'x'))
    test_eq(split_directives('# a comment\n#| hide')[0], {})
    test_eq(split_directives('#| hide\n\n#| test a\nx'), (dict(hide=[], test=['a']), 'x'))
    test_eq(split_directives(''), ({}, ''))

def test_reads_back_what_was_written():
    with TemporaryDirectory() as tmp:
        path = write_notebook(f'{tmp}/nbs/00_a.ipynb', '#| default_exp data.a', 'md:# A', '#| test b\nx = 1')
        write_notebook(f'{tmp}/nbs/_scratch.ipynb', 'x')
        write_notebook(f'{tmp}/nbs/.ipynb_checkpoints/00_a.ipynb', 'x')
        found = notebooks(tmp)
        test_eq(list(found), [path])
        test_eq(
            [c[:4] for c in found[path]],
            [
                (1,'code',dict(default_exp=['data.a']),''), (2,'markdown',{},'# A'),
                (3,'code',dict(test=['b']),'x = 1')])
        test_eq(module_name(found[path]), 'data.a')
        test_eq(module_name(found[path][1:]), None)

def test_broken_file_is_named():
    with TemporaryDirectory() as tmp:
        path = Path(tmp)/'bad.ipynb'
        for text in ('{"cells": [', '{}'):
            path.write_text(text)
            test_fail(lambda: read_cells(path), contains='bad.ipynb is not a notebook', exc=ValueError)

def test_only_import_cells_count():
    test_eq(import_lines(
        '%matplotlib inline\nimport os, re\nfrom a.b import (c,\n  d) # why\nimport nbdev\nfrom nbdev.showdoc import *'),
            ['import os, re', 'from a.b import c, d'])
    test_eq(import_lines('import os\nx = 1'), [])
    test_eq(import_lines('import nbdev; nbdev.some_call()'), [])
    test_eq(import_lines('not python'), [])

def test_strings_survive_indenting():
    for code in ('x = 1\n\nif x:\n    y = """a\n  b\n\nc"""\n    z = 2', 'f"""{1+1}\n a"""', 'x = ("a"\n"b",\n  """c\n""")',
                 's = "a\\\nb"', 'def f():\n    """doc\n    more"""\n    return r\'\'\'\\\n\'\'\'', '# only a comment\npass'):
        body = ast.parse('def f():\n'+indent_code(code)).body[0].body
        test_eq(ast.dump(ast.Module(body, [])), ast.dump(ast.Module(ast.parse(code).body, [])))

def test_bad_test_cells_are_refused():
    def source(code, *name, **marks):
        return function_source(Cell(1, 'code', dict(test=list(name), **marks), code, []))
    test_eq(source('assert True', 'a', data=[], hide=[]), '@pytest.mark.data\ndef test_a():\n    assert True')
    test_fail(lambda: source('pass'), contains='takes one Python name', exc=ValueError)
    test_fail(lambda: source('pass', 'two', 'words'), contains='two words', exc=ValueError)
    test_fail(lambda: source('pass', 'with-dash'), contains='with-dash', exc=ValueError)
    test_fail(lambda: source('x = = 1', 'a'), contains='test a: invalid syntax', exc=ValueError)
    test_fail(lambda: source('%timeit x', 'a'), contains='test a: invalid syntax', exc=ValueError)
    test_fail(lambda: source('from os import *', 'a'), contains='only allowed at module level', exc=ValueError)
    test_fail(lambda: source('# nothing', 'a'), contains='expected an indented block', exc=ValueError)

def test_notebook_and_cell_are_named():
    with TemporaryDirectory() as tmp:
        def export(*sources):
            path = write_notebook(f'{tmp}/00_a.ipynb', *sources)
            return module_tests(path, read_cells(path))
        path = write_notebook(f'{tmp}/01_b.ipynb', 'x = 1', '#| test b\npass')
        test_eq(notebook_tests(path, read_cells(path)), dict(b='def test_b():\n    pass'))
        test_fail(
            lambda: export('#| default_exp a', '#| test b\npass', '#| test b\npass'),
            contains='00_a.ipynb cell 3: there is another test b', exc=ValueError)
        test_fail(
            lambda: export('#| default_exp a', '#| test b\n1+'), contains='00_a.ipynb cell 2: test b: ',
            exc=ValueError)
        test_fail(lambda: export('#| test b\npass'), contains='no `#| default_exp`', exc=ValueError)
        test_eq(export('#| default_exp a', 'x = 1'), None)
        text = export(
            '#| default_exp a.b', 'from __future__ import annotations', 'import os', 'x = 1',
            '#| test c\n#| data\npass')
        test_eq(
            text.splitlines()[1:6],
            ['from __future__ import annotations','import os','import pytest','from stereo_kd.a.b import *',''])
        text = export('#| default_exp a.b', 'import os', 'from __future__ import annotations', '#| test c\npass')
        test_eq(
            text.splitlines()[1:4],
            ['from __future__ import annotations','import os','from stereo_kd.a.b import *'])

def test_stale_files_go_and_foreign_files_stay():
    with TemporaryDirectory() as tmp:
        root = Path(tmp)
        names = lambda: sorted(o.name for o in (root/'tests').iterdir())
        write_notebook(root/'nbs/00_a.ipynb', '#| default_exp a.b', '#| test c\npass')
        write_notebook(root/'nbs/01_d.ipynb', '#| default_exp d', '#| test e\npass')
        test_eq(write_tests(root), [root/'tests/test_a_b.py', root/'tests/test_d.py'])
        (root/'tests/test_hand.py').write_text('pass')
        (root/'nbs/01_d.ipynb').unlink()
        write_tests(root)
        test_eq(names(), ['test_a_b.py','test_hand.py'])
        write_notebook(root/'nbs/02_hand.ipynb', '#| default_exp hand', '#| test e\npass')
        test_fail(lambda: write_tests(root), contains='written by hand', exc=ValueError)
        write_notebook(root/'nbs/02_hand.ipynb', '#| default_exp a.b', '#| test e\npass')
        test_fail(lambda: write_tests(root), contains='as another notebook does', exc=ValueError)

def test_pytest_runs_the_files():
    import subprocess, sys
    with TemporaryDirectory() as tmp:
        (Path(tmp)/'stereo_kd').mkdir()
        (Path(tmp)/'stereo_kd/a.py').write_text('def double(x): return x+x')
        write_notebook(f'{tmp}/nbs/00_a.ipynb', '#| default_exp a', 'from unittest import SkipTest', '#| test good\nassert double(2)==4',
            '#| test bad\nassert 1==2', '#| test no_data\nraise SkipTest("no pairs")', 'x = 1', '#| test leans_on_other_cell\nassert x')
        write_tests(tmp)
        command = [sys.executable, *'-m pytest -q -p no:cacheprovider -W ignore --color=no tests'.split()]
        run = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp, env=dict(os.environ, PYTHONPATH=tmp))
    for words in ('2 failed, 1 passed, 1 skipped', 'assert 1 == 2', "NameError: name 'x'"):
        assert words in run.stdout, run.stdout

def test_links_move():
    test_eq(relink('[a](00_core.ipynb) ![b](../data/b.png "t") [c](https://x.org/c) [d](#d)'),
            '[a](nbs/00_core.ipynb) ![b](data/b.png "t") [c](https://x.org/c) [d](#d)')
    test_eq(
        relink('<img src="images/a.png" width=3> f(x)[0](mailto:a@b)'),
        '<img src="nbs/images/a.png" width=3> f(x)[0](mailto:a@b)')

def test_outputs_become_text():
    test_eq(output_markdown(dict(name='stdout', text=['a\n','\x1b[31mb\x1b[0m\n'])), '```text\na\nb\n```')
    test_eq(output_markdown(dict(name='stderr', text='warning')), '')
    test_eq(output_markdown(dict(data={'text/plain':['3'],'text/html':['<b>3</b>']})), '```text\n3\n```')
    test_eq(output_markdown(dict(data={'text/plain':'<Figure>','image/png':'iVBO'})), '')
    test_eq(output_markdown(dict(data={'text/plain':'<IPython.core.display.HTML object>','text/html':''})), '')
    test_eq(output_markdown(dict(data={'text/plain':'<IPython.x>','text/markdown':['|a|\n','|-|']})), '|a|\n|-|')

def test_readme_shows_text_code_and_output():
    test_eq(cell_markdown(Cell(1, 'code', dict(hide=[]), 'x', [])), '')
    test_eq(cell_markdown(Cell(1, 'code', {}, ' \n', [dict(name='stdout', text='2')])), '')
    with TemporaryDirectory() as tmp:
        test_eq(write_readme(tmp), None)
        path = write_notebook(
            f'{tmp}/nbs/index.ipynb', 'md:# Title\nSee [core](00_core.ipynb)', '#| hide\nsecret = 1',
            '1+1', '', '#| echo: false\nprint(2)')
        nb = json.loads(path.read_text())
        nb['cells'][2]['outputs'] = [dict(output_type='execute_result', data={'text/plain':'2'})]
        nb['cells'][4]['outputs'] = [dict(output_type='stream', name='stdout', text='two\n')]
        path.write_text(json.dumps(nb))
        text = write_readme(tmp).read_text()
    test_eq(
        text.split('\n', 2)[2],
        '# Title\nSee [core](nbs/00_core.ipynb)\n\n```python\n1+1\n```\n\n```text\n2\n```\n\n```text\ntwo\n```\n')

def test_names_defined_and_used():
    test_eq(
        public_names(
            'def f():\n    def g(): pass\nclass _H: pass\n@patch\ndef k(self:L): pass\n@lru_cache\ndef m(): pass\nx = 1'),
        ['f','m'])
    test_eq(used_names('%time\ny = f(x).shape # z'), {'y','f','x','shape'})
    test_eq(used_names('what?'), set())

def test_report_counts():
    with TemporaryDirectory() as tmp:
        write_notebook(f'{tmp}/nbs/00_a.ipynb', '#| default_exp a', 'md:# A', '#| export\nimport os', '#| export\ndef f():\n\n    return 1', '#| export\nclass G: pass\ndef _h(): pass',
            '#| test f\nassert f()', '#| eval: false\nG()')
        write_notebook(f'{tmp}/nbs/exp_a.ipynb', 'md:# no module')
        test_eq(notebook_report(tmp), dict(notebooks=2, library_notebooks=1, tests=1, exported_cells=2, median_lines=2, p90_lines=2, max_lines=2,
            markdown_share=14, public_names=2, shown_share=50, not_shown=['G']))
