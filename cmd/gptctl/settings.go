package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A setting can come from three places: a flag beats the environment beats
// gptctl.toml. All three know it by the flag's name: --max-tokens,
// GPTCTL_MAX_TOKENS, and in the file
//
//	[run]
//	max_tokens = 100
//
// so that a verb declares its flags and gets the other two for nothing.

// applySettings fills in the flags of cmd that were not given.
func applySettings(t *terminal, cmd *cobra.Command) error {
	path, tables, err := readSettings(t, cmd)
	if err != nil {
		return err
	}
	t.settings, t.settingsFile, t.applied = tables, path, map[string]bool{}
	table := tables[cmd.Name()]
	var failed error
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" || failed != nil {
			return
		}
		variable := "GPTCTL_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v, ok := t.env(variable); ok && v != "" {
			if cmd.Flags().Set(f.Name, v) != nil {
				failed = usagef("%s=%q in the environment: want %s", variable, v, wanted(f))
			}
			t.applied[f.Name] = true
			return
		}
		v, ok := table[settingKey(f.Name)]
		if !ok {
			return
		}
		texts, ok := settingTexts(f, v)
		for i := 0; ok && i < len(texts); i++ {
			ok = cmd.Flags().Set(f.Name, texts[i]) == nil
		}
		if !ok {
			failed = usagef("%s: %s.%s is %v, want %s", path, cmd.Name(), settingKey(f.Name), v, wanted(f))
		}
		t.applied[f.Name] = true
	})
	return failed
}

// settingTexts returns a value of the settings file as the texts that its flag
// takes: one, or several of a flag that may be repeated.
func settingTexts(f *pflag.Flag, v any) ([]string, bool) {
	list, many := v.([]any)
	if !many {
		list = []any{v}
	} else if _, ok := f.Value.(pflag.SliceValue); !ok {
		return nil, false
	}
	var texts []string
	for _, v := range list {
		switch v.(type) {
		case string, bool, int64, float64:
			texts = append(texts, fmt.Sprint(v))
		default: // a table, a date, a list in a list
			return nil, false
		}
	}
	return texts, true
}

// wanted says in words what a flag takes; pflag's own are those of strconv.
func wanted(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "int":
		return "a whole number"
	case "intSlice":
		return "whole numbers, separated by commas"
	case "uint64":
		return "a whole number that is not negative"
	case "float64":
		return "a number"
	case "bool":
		return "true or false"
	case "stringArray":
		return "a text or a list of texts"
	}
	return "a text"
}

// flagError makes pflag's complaint a usage error in our words.
func flagError(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		f := invalid.GetFlag()
		err = fmt.Errorf("--%s %q: want %s", f.Name, invalid.GetValue(), wanted(f))
	}
	return &usageError{err}
}

// fromSettings reports whether a flag has its value from the environment or
// the file: one that was typed has not.
func fromSettings(t *terminal, flag string) bool { return t.applied[flag] }

func settingKey(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// mirrors returns the setting fetch.mirrors, which counts for every verb that
// may have to fetch a model.
func (t *terminal) mirrors() []string {
	if v := t.getenv("GPTCTL_MIRRORS"); v != "" {
		return []string{v}
	}
	var urls []string
	switch v := t.settings["fetch"]["mirrors"].(type) {
	case string:
		urls = append(urls, v)
	case []any:
		for _, u := range v {
			urls = append(urls, fmt.Sprint(u))
		}
	}
	return urls
}

// readSettings reads the settings file, if there is one, and returns its
// tables, one per verb. A file that --config or GPTCTL_CONFIG names must exist.
func readSettings(t *terminal, cmd *cobra.Command) (path string, tables map[string]map[string]any, err error) {
	path, must := t.configFile, true
	if path == "" {
		path = t.getenv("GPTCTL_CONFIG")
	}
	if path == "" {
		path, must = defaultSettingsFile(t), false
	}
	if path == "" {
		return "", nil, nil
	}
	if _, err := os.Stat(path); err != nil && !must {
		return "", nil, nil // absent, or in a home that is not ours, as under sudo
	}
	data, err := readBounded(path, maxSettingsBytes)
	if err != nil {
		return path, nil, usagef("read settings: %w", err)
	}
	t.detail("settings from %s", path)
	tables, err = parseSettings(path, data, cmd.Root())
	return path, tables, err
}

// maxSettingsBytes bounds the settings file: more is a mistake.
const maxSettingsBytes = 1 << 20

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, err
}

// defaultSettingsFile is ./gptctl.toml, else the one in the user's
// configuration folder.
func defaultSettingsFile(t *terminal) string {
	const name = "gptctl.toml"
	if _, err := os.Stat(name); err == nil {
		return name
	}
	dir := t.getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "gptctl", name)
}

// parseSettings checks the file against the flags that exist: go-toml compares
// it with a struct of a table per verb and a key per flag, which is built here,
// and names the line of a key that has no place in it.
func parseSettings(path string, data []byte, root *cobra.Command) (map[string]map[string]any, error) {
	var verbs []reflect.StructField
	var names []string
	for _, verb := range root.Commands() {
		var keys []reflect.StructField
		verb.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			keys = append(keys, settingField(len(keys), settingKey(f.Name), reflect.TypeFor[any]()))
		})
		if verb.Name() == "doctor" { // a table of its own, which doctor checks
			keys = append(keys, settingField(len(keys), thresholdsKey, reflect.TypeFor[any]()))
		}
		if len(keys) > 0 {
			verbs = append(verbs, settingField(len(verbs), verb.Name(), reflect.StructOf(keys)))
			names = append(names, verb.Name())
		}
	}
	file := reflect.New(reflect.StructOf(verbs))
	d := toml.NewDecoder(strings.NewReader(strings.TrimPrefix(string(data), "\ufeff"))).DisallowUnknownFields()
	if err := d.Decode(file.Interface()); err != nil {
		var unknown *toml.StrictMissingError
		if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
			row, _ := unknown.Errors[0].Position()
			return nil, usagef("%s:%d: there is no setting %q", path, row, strings.Join(unknown.Errors[0].Key(), "."))
		}
		var syntax *toml.DecodeError
		if errors.As(err, &syntax) {
			row, col := syntax.Position()
			if strings.Contains(syntax.Error(), "struct") { // ours, which is nothing to show
				return nil, usagef("%s:%d:%d: want a table such as [run] here", path, row, col)
			}
			return nil, usagef("%s:%d:%d: %s", path, row, col, strings.TrimPrefix(syntax.Error(), "toml: "))
		}
		return nil, usagef("%s: %w", path, err)
	}
	tables := make(map[string]map[string]any)
	for i, name := range names {
		table := file.Elem().Field(i)
		tables[name] = make(map[string]any)
		for k := range table.NumField() {
			if v := table.Field(k).Interface(); v != nil {
				key, _ := table.Type().Field(k).Tag.Lookup("toml")
				tables[name][key] = v
			}
		}
	}
	return tables, nil
}

// settingField is one member of the struct; go-toml goes by the tag, Go wants
// an exported name.
func settingField(i int, key string, typ reflect.Type) reflect.StructField {
	return reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: typ, Tag: reflect.StructTag(fmt.Sprintf("toml:%q", key))}
}
