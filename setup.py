"Installer: everything it says comes from settings.ini"
from configparser import ConfigParser
from pathlib import Path
from shutil import copytree
from setuptools import setup, find_packages
from setuptools.command.build_py import build_py

root = Path(__file__).parent
parser = ConfigParser(delimiters=['='])
parser.read(root/'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']
words = lambda key: cfg.get(key, '').split()
readme = root/'README.md'

class BuildWithSplits(build_py):
    "An installed package finds the lists of `data/splits` beside its modules"
    def run(self):
        super().run()
        if not self.editable_mode: copytree(root/'data'/'splits', Path(self.build_lib)/cfg['lib_path']/'splits', dirs_exist_ok=True)

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
    long_description_content_type='text/markdown',
    keywords=cfg['keywords'],
    author=cfg['author'],
    license='Apache-2.0',
    packages=find_packages(include=[cfg['lib_path'], cfg['lib_path']+'.*']),
    package_data={cfg['lib_path']: words('package_data')},
    python_requires='>='+cfg['min_python'],
    install_requires=words('requirements'),
    extras_require=dict(
        **{k: words(f'{k}_requirements') for k in ('export','demo','docs','tracking')},
        dev=[w for k in ('dev','export','demo','docs','tracking') for w in words(f'{k}_requirements')]),
    entry_points=dict(console_scripts=words('console_scripts'), nbdev=[f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]),
    cmdclass=dict(build_py=BuildWithSplits),
    zip_safe=False,
)
