"""Writes golden.jsonl: mojibake with what it was and what ftfy makes of it, normal forms as Python's unicodedata makes them, entities as Python's html module reads them.

    python referee.py
"""
import ftfy, html, json, os, random, unicodedata
from ftfy.bad_codecs import sloppy  # noqa: F401 (registers sloppy-windows-1252)

good = [
    "It’s “quoted” – with dashes — and dots…", "naïve café, déjà vu, Ångström, Übermut, señor", "£5 or €6, 20 °C, ½ cup, © 2020 ®™", "日本語のテキスト", "Привет, мир", "😀 emoji 🎉 party",
    "Ελληνικά", "• bullet → arrow ✓ check", "Łódź, Kraków, Świętosława", "São Paulo, coração, não", "ñandú à l’œuvre", "Müller’s Größe", "ÀÉÎÕÜ capital", "schön – weiß",
]
honest = [
    "plain ASCII stays", "É naturalmente assim.", "NÃO” disse ele", "CAFÉ”, é…», “é”", "Ü—A", "the “é” in café…", "voilà ", "MAÇÃ e PÊRA", "¡Qué!", "£10", "5 µm ± 2 °C", "ÉCOLE’S", "ß“", "Â and Ã alone", "RÉSUMÉ – 2", "a × b ÷ c", "№ 5",
    "“Ça” dit-il", "Où ? Là…", "fiancée—", "Zoë’s", "«Été»", "ÎLE°", "façade®", "10€ à payer", "él • ella", "Ž Š š",
]
cases = []


def mojibake(bad, truth):
    cases.append({"kind": "mojibake", "in": bad, "out": truth, "ftfy": ftfy.fix_encoding(bad)})


for s in good:
    for codec in ["sloppy-windows-1252", "latin-1"]:
        once = s.encode().decode(codec)
        mojibake(once, s)
        mojibake("Before: " + once + " and good: " + s, "Before: " + s + " and good: " + s)
        mojibake(once.encode().decode(codec), s)
for s in honest + good:
    cases.append({"kind": "honest", "in": s, "out": s})

random.seed(7)
letters = [chr(c) for r in [(0x41, 0x250), (0x300, 0x345), (0x1100, 0x1113), (0x1161, 0x1176), (0x11A8, 0x11C3), (0x900, 0x980), (0x1E00, 0x1F00), (0xFB00, 0xFB50), (0x2F800, 0x2F820)] for c in range(*r)]
for _ in range(150):
    s = "".join(random.choice(letters) for _ in range(random.randint(1, 12)))
    cases.append({"kind": "nfc", "in": s, "out": unicodedata.normalize("NFC", s)})
for name in ["amp", "lt", "gt", "quot", "apos", "nbsp", "eacute", "hellip", "mdash", "rsquo", "euro", "NotEqualTilde", "#233", "#xE9", "#150", "#x1F600", "#8217", "unknown", "#0"]:
    s = f"a&{name};b"
    cases.append({"kind": "entity", "in": s, "out": html.unescape(s)})

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden.jsonl"), "w") as f:
    for c in cases:
        f.write(json.dumps(c) + "\n")
