package source

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong with data comes with what mends it.
func TestMend(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"notes.txt": "text", "thesis.docx": "x", "page.html": "x", "plain": "x",
		"utf16.txt": "t\x00e\x00x\x00t\x00s\x00", "utf16be.txt": "\x00t\x00e\x00x\x00t\x00s", "utf32.txt": "\xff\xfe\x00\x00t\x00\x00\x00",
		"paper.txt": "%PDF-1.4\x00", "packed.txt": "\x1f\x8b\x08\x00\x00", "late.txt": strings.Repeat("line\n", 2000) + "\x00", "list.jsonl": "[\n",
		"broken.jsonl": "{\"text\": \"a\"}\n{", "bad.txt.gz": "plain", "bad.jsonl": "\x00\x01", "one.json": "{}",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"note.txt": "notes.txt?", "Notes.md": "notes.txt?", "zebra.txt": "has no zebra.txt", "none/of/them.txt": "there is no none in",
		"*.rst": "**/*.txt does", "none/*.txt": "has no none", "[a": "written", "thesis.docx": "pandoc", "page.html": "called .txt it is read", "plain": "plain.txt",
		"empty": "name another folder", "utf16.txt": "UTF-16LE", "utf16be.txt": "UTF-16BE", "utf32.txt": "UTF-32", "paper.txt": "pdftotext", "packed.txt": ".gz",
		"late.txt": "tr -d", "list.jsonl": "called .json", "broken.jsonl": "mend that line", "bad.txt.gz": "take the .gz", "bad.jsonl": "leave this one out", "one.json": "called .jsonl",
	} {
		path := filepath.Join(dir, name)
		files, _, err := Find([]string{path})
		for _, f := range files {
			err = Read(t.Context(), f, Options{}, func(Document) error { return nil })
		}
		var mend *MendError
		if !errors.As(err, &mend) || !strings.Contains(mend.Mend, want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %#v, want to be mended by %s", name, err, want)
		}
	}
}

// A folder that holds a model, or is left out, gives no texts.
func TestFindLeaves(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.txt", "model/config.json", "model/model.safetensors", "model/README.md", "run/metrics.csv", "run/checkpoints/step-1/README.md",
		"adapter/adapter_config.json", "out/deep/b.txt", "texts/config.json.txt"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "**")} {
		files, skipped, err := Find([]string{path}, filepath.Join(dir, "out"), filepath.Join(dir, "not there"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range files {
			rel, _ := filepath.Rel(dir, f.Path)
			got = append(got, filepath.ToSlash(rel))
		}
		if strings.Join(got, " ") != "a.txt texts/config.json.txt" || len(skipped) != 3 || !strings.HasSuffix(skipped[0], "/adapter/") {
			t.Errorf("%v, skipped %v", got, skipped)
		}
	}
}

// A link to a folder is read where it is named, and said to be there in a folder.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "real", "deep"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "real", "deep", "a.txt"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": "real", "real/b.txt": "deep/a.txt", "real/loop": ".", "real/none.txt": "nowhere"} {
		if err := os.Symlink(filepath.FromSlash(to), filepath.Join(dir, filepath.FromSlash(link))); err != nil {
			t.Skip(err)
		}
	}
	for _, path := range []string{"link", "link/*.txt", "link/**", "real"} {
		files, skipped, err := Find([]string{filepath.Join(dir, path)})
		want := map[string][2]int{"link": {2, 2}, "link/*.txt": {1, 1}, "link/**": {2, 2}, "real": {2, 2}}[path]
		if err != nil || len(files) != want[0] || len(skipped) != want[1] || !strings.HasSuffix(skipped[len(skipped)-1], "/none.txt@") {
			t.Errorf("%s: %v, skipped %v, %v", path, files, skipped, err)
		}
	}
	var mend *MendError
	if _, _, err := Find([]string{filepath.Join(dir, "real", "none.txt")}); !errors.As(err, &mend) || mend.Mend != "it is a link to nowhere, which is not there" {
		t.Errorf("a link to nothing: %v", err)
	}
}

// What was packed with a long window is not damaged.
func TestLongWindow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.txt.zst")
	// A frame header (RFC 8878, 3.1.1) of a window of 2 GiB, and an empty last block.
	if err := os.WriteFile(path, []byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"), 0o666); err != nil {
		t.Fatal(err)
	}
	files, _, err := Find([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	var mend *MendError
	err = Read(t.Context(), files[0], Options{}, func(Document) error { return nil })
	if !errors.As(err, &mend) || !strings.Contains(err.Error(), "a window of more than 128 MiB") || !strings.Contains(mend.Mend, "zstd -d --long=31") {
		t.Errorf("error is %v", err)
	}
}
