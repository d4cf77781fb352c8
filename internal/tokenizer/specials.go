package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// addedSpec is an added token as a file describes it.
type addedSpec struct {
	content                             string
	singleWord, lstrip, rstrip, special bool
	normalized                          *bool // nil: the opposite of special
	id                                  int32 // as the file has it; the model's vocabulary knows better
	text                                bool  // a mere string, which becomes special when it is added
}

func (s addedSpec) token() addedToken {
	t := addedToken{
		content: s.content, singleWord: s.singleWord, lstrip: s.lstrip, rstrip: s.rstrip,
		special: s.special || s.text,
	}
	t.normalized = !t.special
	if s.normalized != nil {
		t.normalized = *s.normalized
	}
	return t
}

// same reports whether Python's "==" holds.
func (s addedSpec) same(o addedSpec) bool { return s.text == o.text && s.token() == o.token() }

// newAddedSpec reads an added token: a string or an object. where names file and field.
func newAddedSpec(where string, v any) (addedSpec, error) {
	var s addedSpec
	switch v := v.(type) {
	case string:
		return addedSpec{content: v, text: true}, nil
	case *jsonObject:
		content, ok := v.get("content").(string)
		if !ok {
			return s, fmt.Errorf("%s: content is %s, want a string", where, describe(v.get("content")))
		}
		s.content = content
		var normalized bool
		for _, f := range []struct {
			key string
			dst *bool
		}{
			{"single_word", &s.singleWord}, {"lstrip", &s.lstrip}, {"rstrip", &s.rstrip},
			{"normalized", &normalized}, {"special", &s.special},
		} {
			if !v.has(f.key) {
				continue
			}
			b, ok := v.get(f.key).(bool)
			if !ok {
				return s, fmt.Errorf("%s: %s is %s, want true or false", where, f.key, describe(v.get(f.key)))
			}
			*f.dst = b
		}
		if v.has("normalized") {
			s.normalized = &normalized
		}
		return s, nil
	}
	return s, fmt.Errorf("%s is %s, want a string or an object", where, describe(v))
}

// specials is what the files say about added and special tokens.
type specials struct {
	added []addedSpec          // by their ids in the file, ascending
	known map[string]addedSpec // by content, also those whose id another file gives to another token
	order []string             // the names of the special tokens, in the order in which they are added
	named map[string]addedSpec // by these names: bos_token …
	extra []addedSpec          // more special tokens, without a name
}

// specialNames are the names every tokenizer class of transformers knows, in its order.
var specialNames = []string{
	"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
}

const (
	extraKey      = "extra_special_tokens"
	additionalKey = "additional_special_tokens"
	decoderKey    = "added_tokens_decoder"
	endOfText     = "<|endoftext|>"
)

// readSpecials brings together tokenizer_config.json, special_tokens_map.json, added_tokens.json and the added tokens
// of tokenizer.json in the way of transformers' from_pretrained: an added_tokens_decoder in tokenizer_config.json
// silences the other three files.
func (l *loader) readSpecials() (*specials, error) {
	if l.settings.has(additionalKey) && empty(l.settings.get(extraKey)) {
		l.settings.set(extraKey, l.settings.get(additionalKey))
		l.settings.remove(additionalKey)
	}
	s := &specials{named: map[string]addedSpec{}, known: map[string]addedSpec{}}
	origin := map[string]string{} // which file a key comes from, for errors
	if l.settings.has(decoderKey) {
		var err error
		if s.added, err = addedTokensDecoder(l.settings.get(decoderKey)); err != nil {
			return nil, err
		}
		for _, a := range s.added {
			s.known[a.content] = a
		}
	} else if err := l.legacyTokens(s, origin); err != nil {
		return nil, err
	}
	if err := l.readNamed(s, origin); err != nil {
		return nil, err
	}
	return s, nil
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case *jsonObject:
		return len(v.keys) == 0
	case string:
		return v == ""
	}
	return false
}

// addedTokensDecoder reads the object id: token of tokenizer_config.json.
func addedTokensDecoder(v any) ([]addedSpec, error) {
	o, ok := v.(*jsonObject)
	if !ok {
		return nil, fmt.Errorf("%s: %s is %s, want an object", settingsFile, decoderKey, describe(v))
	}
	var list []addedSpec
	for _, key := range o.keys {
		where := fmt.Sprintf("%s: %s[%q]", settingsFile, decoderKey, key)
		id, ok := parseID(key)
		if !ok {
			return nil, fmt.Errorf("%s: the key is not a token id", where)
		}
		s, err := newAddedSpec(where, o.get(key))
		if err != nil {
			return nil, err
		}
		s.id = id
		s.text = false
		list = append(list, s)
	}
	return sortedTokens(settingsFile+": "+decoderKey, list)
}

// sortedTokens sorts tokens by id and refuses one that two tokens share.
func sortedTokens(where string, list []addedSpec) ([]addedSpec, error) {
	sort.SliceStable(list, func(i, j int) bool { return list[i].id < list[j].id })
	for i := 1; i < len(list); i++ {
		if list[i].id == list[i-1].id {
			return nil, fmt.Errorf("%s: %q and %q have the same id %d", where, list[i-1].content, list[i].content, list[i].id)
		}
	}
	return list, nil
}

// legacyTokens merges special_tokens_map.json into the settings and takes the added tokens of added_tokens.json and,
// stronger than those, of tokenizer.json.
func (l *loader) legacyTokens(s *specials, origin map[string]string) error {
	special, err := l.object(specialsFile)
	if err != nil {
		return err
	}
	if special != nil {
		for _, key := range special.keys {
			v := special.get(key)
			if list, ok := v.([]any); ok && key == extraKey {
				if old, ok := l.settings.get(extraKey).([]any); ok {
					v = append(slices.Clone(old), list...)
				}
			}
			if o, ok := v.(*jsonObject); ok && key != extraKey {
				o.set("special", true)
			}
			l.settings.set(key, v)
			origin[key] = specialsFile
		}
	}
	old, err := l.object(addedTokensFile)
	if err != nil {
		return err
	}
	var all []addedSpec
	if old != nil {
		if all, err = l.addedTokensFile(old); err != nil {
			return err
		}
	}
	if l.file != nil {
		all = append(all, l.file.added...)
	}
	byID := map[int32]addedSpec{}
	for _, a := range all {
		byID[a.id] = a
		s.known[a.content] = a
	}
	list := slices.Collect(maps.Values(byID))
	s.added, err = sortedTokens(addedTokensFile, list)
	return err
}

// addedTokensFile reads the object token: id of added_tokens.json. A token is special if the settings name it so.
func (l *loader) addedTokensFile(o *jsonObject) ([]addedSpec, error) {
	isSpecial := map[string]bool{}
	note := func(v any) {
		switch v := v.(type) {
		case string:
			isSpecial[v] = true
		case *jsonObject:
			if c, ok := v.get("content").(string); ok {
				isSpecial[c] = true
			}
		}
	}
	for _, key := range specialNames {
		note(l.settings.get(key))
	}
	if list, ok := l.settings.get(extraKey).([]any); ok {
		for _, v := range list {
			note(v)
		}
	}
	var list []addedSpec
	for _, content := range o.keys {
		n, ok := o.get(content).(jsonNumber)
		id, valid := parseID(string(n))
		if !ok || !valid {
			return nil, fmt.Errorf("%s: the id of %q is %s, want a whole number that is neither negative nor huge", addedTokensFile, content, describe(o.get(content)))
		}
		normalized := !isSpecial[content]
		list = append(list, addedSpec{content: content, special: isSpecial[content], normalized: &normalized, id: id})
	}
	return sortedTokens(addedTokensFile, list)
}

// readNamed reads the special tokens from the settings.
func (l *loader) readNamed(s *specials, origin map[string]string) error {
	where := func(key string) string {
		if file := origin[key]; file != "" {
			return file + ": " + key
		}
		return settingsFile + ": " + key
	}
	for _, key := range specialNames {
		v := l.settings.get(key)
		if !l.settings.has(key) && l.gpt2 && (key == "bos_token" || key == "eos_token" || key == "unk_token") {
			s.named[key] = addedSpec{content: endOfText, text: true}
		}
		s.order = append(s.order, key)
		if v == nil {
			continue
		}
		a, err := newAddedSpec(where(key), v)
		if err != nil {
			return err
		}
		if k, ok := s.known[a.content]; ok {
			a = k
		}
		s.named[key] = a
	}
	// Names that only this model knows: image_token and the like, and those of an object of extra special tokens.
	name := func(key, where string, v any) error {
		a, err := newAddedSpec(where, v)
		if err != nil {
			return err
		}
		if !slices.Contains(s.order, key) {
			s.order = append(s.order, key)
		}
		s.named[key] = a
		return nil
	}
	for _, key := range l.settings.keys {
		v := l.settings.get(key)
		_, isText := v.(string)
		_, isObject := v.(*jsonObject)
		if strings.HasSuffix(key, "_token") && !slices.Contains(specialNames, key) && (isText || isObject) {
			if err := name(key, where(key), v); err != nil {
				return err
			}
		}
	}
	extra := l.settings.get(extraKey)
	if !l.settings.has(extraKey) {
		extra = l.settings.get(additionalKey)
	}
	switch extra := extra.(type) {
	case nil:
	case []any:
		for _, v := range extra {
			a, err := newAddedSpec(where(extraKey), v)
			if err != nil {
				return err
			}
			s.extra = append(s.extra, a)
		}
	case *jsonObject:
		for _, key := range extra.keys {
			if err := name(key, where(extraKey)+"."+key, extra.get(key)); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%s is %s, want a list or an object", where(extraKey), describe(extra))
	}
	return nil
}

// toAdd returns the tokens to add to those of the model and to the ones already known, in transformers' order.
func (s *specials) toAdd(known map[string]int32) []addedToken {
	specs := slices.Clone(s.added)
	has := map[string]bool{}
	for content := range known {
		has[content] = true
	}
	for _, a := range s.added {
		has[a.content] = true
	}
	more := func(a addedSpec) {
		if !has[a.content] && !slices.ContainsFunc(specs, a.same) {
			specs = append(specs, a)
		}
	}
	isNamed := map[string]bool{}
	for _, key := range s.order {
		if a, ok := s.named[key]; ok {
			more(a)
			isNamed[a.content] = true
		}
	}
	for _, a := range s.extra {
		more(a)
	}
	list := make([]addedToken, len(specs))
	for i, a := range specs {
		a.special = a.special || isNamed[a.content]
		list[i] = a.token()
	}
	return list
}
