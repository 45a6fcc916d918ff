"""mkdocs hooks: the pages and figures of results/ join the site, and links to source files become plain text."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = ("ENERGY.md", "LEADERBOARD.md", "METHODS.md", "PAPER.md", "leaderboard.csv", "published.csv", "speed/README.md")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files, config):
    """Adds results/ beside the pages of docs/."""
    names = [f"results/{page}" for page in PAGES]
    names += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "results/figures").glob("*.*g"))]
    for name in names:
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrites links that are relative to the checkout, where docs/ and results/ are neighbours."""
    source = page.file.src_uri
    folder = posixpath.dirname(source if source.startswith("results/") else f"docs/{source}")

    def rewritten(match):
        image, text, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or "://" in path:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, path)).removeprefix("docs/")
        if files.get_file_from_path(path):
            return f"{image}[{text}]({posixpath.relpath(path, posixpath.dirname(source) or '.')}{hash_}{anchor})"
        if (ROOT / path).exists() and not image:
            return f"[{text}]({config.repo_url}/blob/main/{path})" if config.repo_url else text
        return match[0]

    return LINK.sub(rewritten, markdown)
