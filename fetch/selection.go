package fetch

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// companions are the files that a model is run with, besides its weights.
var companions = []string{
	"config.json", "generation_config.json",
	"tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json",
	"special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
}

// The weights in the order of preference: one file or an index with its parts.
var weights = []struct {
	single, index string
	part          *regexp.Regexp
}{
	{"model.safetensors", "model.safetensors.index.json", regexp.MustCompile(`^model-\d+-of-\d+\.safetensors$`)},
	{"pytorch_model.bin", "pytorch_model.bin.index.json", regexp.MustCompile(`^pytorch_model-\d+-of-\d+\.bin$`)},
}

// selectFiles picks what is needed to run a model out of all its files: the
// companions and one kind of weights, all of them at the top of the
// repository. Patterns replace the choice.
func selectFiles(files []hubFile, patterns []string) []hubFile {
	keep := func(want func(p string) bool) []hubFile {
		return slices.DeleteFunc(slices.Clone(files), func(f hubFile) bool { return !want(f.Path) })
	}
	if len(patterns) > 0 {
		return keep(func(p string) bool {
			return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, p) })
		})
	}
	has := func(name string) bool {
		return slices.ContainsFunc(files, func(f hubFile) bool { return f.Path == name })
	}
	for _, w := range weights {
		switch {
		case has(w.single):
			return keep(func(p string) bool { return p == w.single || slices.Contains(companions, p) })
		case has(w.index):
			return keep(func(p string) bool {
				return p == w.index || w.part.MatchString(p) || slices.Contains(companions, p)
			})
		}
	}
	return nil // nothing that could be run
}

// matches compares a path with a pattern of package path; one without a slash
// is compared with the last element.
func matches(pattern, p string) bool {
	if !strings.Contains(pattern, "/") {
		p = path.Base(p)
	}
	ok, err := path.Match(pattern, p)
	return ok && err == nil
}

// absent are the usual files that the listing does not have. The Python tools
// keep a note of them, so as not to ask again.
func absent(files []hubFile) []string {
	var names []string
	for _, name := range append(slices.Clone(companions), weights[0].single, weights[0].index) {
		if !slices.ContainsFunc(files, func(f hubFile) bool { return f.Path == name }) {
			names = append(names, name)
		}
	}
	return names
}
