"""The page that asks for a name and a password: plain HTML, nothing loaded."""

from html import escape

LOGIN_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Maquette</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark; --ground: #f3f1ee; --card: #fff; --text: #2b2926; --soft: #6d6861; --line: #d9d5cf;
  --accent: #b9502b; --said: #9c3a1a; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ground: #1b1a19; --card: #262422; --text: #ece8e2; --soft: #a8a29a;
  --line: #3b3835; --accent: #e98256; --said: #f0a07c; }} }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--ground); color: var(--text);
  font: 16px/1.5 "IBM Plex Sans", system-ui, sans-serif; }}
form {{ width: min(320px, 88vw); padding: 32px; border-radius: 10px; background: var(--card);
  box-shadow: 0 2px 16px rgb(0 0 0 / 10%); display: grid; gap: 16px; }}
h1 {{ margin: 0; font-size: 22px; }}
p {{ margin: 0; color: var(--soft); }} .said {{ color: var(--said); }}
label {{ display: grid; gap: 4px; font-size: 14px; color: var(--soft); }}
input {{ font: inherit; padding: 10px 12px; border: 1px solid var(--line); border-radius: 8px; color: var(--text);
  background: var(--ground); }}
button {{ font: inherit; font-weight: 600; padding: 10px; border: 0; border-radius: 8px; background: var(--accent);
  color: #fff; cursor: pointer; }}
@media (prefers-color-scheme: dark) {{ button {{ color: #1b1a19; }} }}
</style></head><body><form method="post" action="/login"><h1>Maquette</h1>{said}
<label>Name<input name="name" autocomplete="username" autofocus required></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required></label>
<button>Come in</button></form></body></html>"""


def login_page(said: str = "") -> str:
    """The page; `said` tells why the last try failed."""
    line = f'<p class="said" role="alert">{escape(said)}</p>' if said else "<p>This studio is shared with you.</p>"
    return PAGE.format(said=line)
