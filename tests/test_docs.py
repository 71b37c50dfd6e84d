# Generated from nbs/88_docs.ipynb; edit the notebook, not this file
import ast, inspect, io, json, posixpath, re, shutil, sys, zlib
from fastcore.docments import DocmentTbl
from fastcore.script import Param, call_parse
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType
from urllib.parse import unquote
from stereo_kd.testing import import_lines, module_name, notebooks, read_cells, split_directives
from contextlib import redirect_stdout
from fastcore.test import *
from stereo_kd.testing import write_notebook
import pytest
from stereo_kd.docs import *

def test_tutorials_first_then_the_map():
    with TemporaryDirectory() as tmp:
        table = '## Map\n| **A** | |\n| x | [c](01_c.ipynb), [b](02_b.ipynb#part) |\n| **B** | |\n| y | [b](02_b.ipynb), [c](01_c.ipynb) |'
        write_notebook(f'{tmp}/nbs/index.ipynb', f'md:# I\n[e](01_c.ipynb)\n{table}', 'md:## Papers\n[d](03_d.ipynb)')
        for n in ('01_c','02_b','tutorial_z'): write_notebook(f'{tmp}/nbs/{n}.ipynb', 'md:# T')
        test_eq(site_map(tmp), {'Tutorials':['tutorial_z'], 'A':['01_c'], 'B':['02_b']})
        write_notebook(f'{tmp}/nbs/03_d.ipynb', 'md:# T')
        test_fail(lambda: site_map(tmp), exc=ValueError, contains='does not name 03_d')

def test_errors_are_read_from_the_code():
    import stereo_kd.testing as testing
    test_eq(raised(testing.real_data), [('SkipTest','STEREO_KD_REAL names no folder with real pairs'),
                                        ('ValueError','STEREO_KD_REAL={root} is not a folder')])
    test_eq(raised(len), [])
    test_eq(escape('a*b|c of `x*y` <d>'), r'a\*b\|c of `x*y` \<d\>')

def test_an_entry_has_arguments_and_errors():
    entry = api_entry('read_cells', 'stereo_kd.testing')
    assert r'raises `ValueError`: \{path\} is not a text file: \{e\}' in entry # `_text` says so
    assert '| `path` | `Path` | notebook file |' in entry and '| *returns* | `list` | in order, empty cells too |' in entry

def test_what_a_page_shows():
    cell = lambda source, kind='code': dict(cell_type=kind, id='a', source=source, metadata={}, outputs=[], execution_count=1)
    test_eq([page_cells(cell(s)) for s in ('#| hide\nx', '#| default_exp a', '#| export\n')], [[],[],[]])
    test_eq(page_cells(cell('see [a](../A.md) and [b](b.ipynb)', 'markdown'))[0]['source'], 'see [a](A.md) and [b](b.ipynb)')
    test, = page_cells(cell('#| test two_views\n#| slow\nassert x'))
    test_eq([test['source'],test['metadata']['mystnb']['code_prompt_show']], ['assert x','Test: two views'])
    test_eq(page_cells(cell('#| echo: false\nx'))[0]['metadata'], dict(tags=['remove-input']))
    code,entry = page_cells(cell('#| export\ndef real_data(): pass'), 'stereo_kd.testing')
    assert '{py:function} real_data()' in entry['source'] and code['source']=='def real_data(): pass'
    test_eq(cell_names('@patch\ndef f(self:K): pass\n@patch\ndef _g(self:K): pass\nA,B = 1,2\nclass _C: pass', ['A']), ['K.f','A'])

def test_pages_and_what_they_link_to():
    with TemporaryDirectory() as tmp:
        root,src = Path(tmp),Path(tmp)/'src'
        src.mkdir()
        table = '## Map\n| **A** | |\n| x | [a](00_a.ipynb) |\n[C](../CHANGELOG.md)'
        write_notebook(root/'nbs/index.ipynb', f'md:# I\n{table}')
        write_notebook(root/'nbs/00_a.ipynb', 'md:# A\n![p](images/p.png) [q](../data/q.csv)', '#| hide\nx')
        for f in ('nbs/images/p.png','data/q.csv','CHANGELOG.md','CONTRIBUTING.md'):
            (root/f).parent.mkdir(exist_ok=True)
            (root/f).write_text(f)
        test_eq(write_pages(root, src), 4)
        names = sorted(p.relative_to(src).as_posix() for p in src.rglob('*.*'))
        test_eq(names, ['00_a.ipynb','CHANGELOG.md','CONTRIBUTING.md','data/q.csv','images/p.png','index.ipynb'])
        first,*_,toc,project = json.loads((src/'index.ipynb').read_text())['cells']
        assert '](CHANGELOG.md)' in first['source'] and toc['source'].endswith(':caption: A\n:hidden:\n\n00_a\n```')
        test_eq(len(json.loads((src/'00_a.ipynb').read_text())['cells']), 1)

def test_dead_links_are_found():
    with TemporaryDirectory() as tmp:
        site = Path(tmp)
        (site/'b.html').write_text('<h2 id="part two">b</h2>')
        good = '<a href="b.html">x</a><a href="b.html#part%20two"></a><a href="#top" id="top"></a><a href="https://a.b/c"></a><a href="#"></a>'
        (site/'a.html').write_text(good)
        test_eq(dead_links(site), [])
        for text,said in (('<a href="c.html">', 'a.html links to c.html, which does not exist'),
                          ('<img src="c.png">', 'a.html links to c.png, which does not exist'),
                          ('<a href="b.html#three">', 'a.html links to b.html#three, a part that b.html does not have'),
                          ('<script src="https://a.b/c.js"></script>', 'a.html loads https://a.b/c.js')):
            (site/'a.html').write_text(good+text)
            test_eq(dead_links(site), [said])

@pytest.mark.slow
def test_a_small_site():
    def build(folder, page, *cells):
        table = '## Map\n| **A** | |\n| x | [a](00_a.ipynb) |\n## Rest\n'
        write_notebook(f'{folder}/nbs/index.ipynb', f'md:# I\n{table}')
        write_notebook(f'{folder}/nbs/00_a.ipynb', f'md:# A\n{page}', *cells)
        for n in PROJECT: (Path(folder)/f'{n}.md').write_text(f'# {n}')
        return build_site(folder)
    with TemporaryDirectory() as tmp:
        test_eq(build(tmp, 'Equal: $a=b$, [c](../CONTRIBUTING.md)', '#| default_exp testing', '#| hide\nsecret',
                      '#| export\ndef real_data(): pass', '#| test it_is_so\nassert 1'), 4)
        html = (Path(tmp)/'_docs/00_a.html').read_text()
        for said in ('class="math', 'STEREO_KD_REAL={root} is not a folder', 'Test: it is so', 'folder that holds'): assert said in html, said
        assert 'secret' not in html
        test_eq(sorted(p.name for p in Path(tmp).iterdir()), ['CHANGELOG.md','CONTRIBUTING.md','_docs','nbs'])
        test_eq(site_names(Path(tmp)/'_docs'), {'stereo_kd.testing.real_data'})
        test_eq(dead_links(Path(tmp)/'_docs'), [])
        missing = missing_names(Path(tmp)/'_docs', tmp)
        assert 'stereo_kd.testing.read_cells' in missing and 'stereo_kd.testing.real_data' not in missing
        test_fail(lambda: build(tmp, '[gone](99_z.ipynb)'), exc=ValueError, contains='99_z')

def test_a_wrong_site_fails():
    from unittest.mock import patch
    def said(**found):
        found = dict(build_site=lambda *a: 3, missing_names=lambda *a: [], dead_links=lambda *a: [], site_names=lambda *a: {'a'})|found
        out = io.StringIO()
        with patch.dict(inspect.unwrap(stereo_kd_docs).__globals__, found),redirect_stdout(out):
            try: stereo_kd_docs('.', 'site')
            except SystemExit as e: return e.code
        return out.getvalue()
    test_eq(said(), 'docs: 3 pages, 1 names, no dead link: site/index.html\n')
    test_eq(said(missing_names=lambda *a: ['a.b']), 'docs: a.b has no entry')
    test_eq(said(dead_links=lambda *a: ['x','y']), 'docs: x\ndocs: y')
    def warned(*args): raise ValueError('a.ipynb: WARNING')
    test_eq(said(build_site=warned), 'docs: a.ipynb: WARNING')
