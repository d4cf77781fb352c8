package tokenizer

import (
	"fmt"
)

// tokenizerJSON is tokenizer.json (the format of Hugging Face's tokenizers, version 1.0).
type tokenizerJSON struct {
	model      *modelFile
	added      []addedSpec // by id, ascending
	normalizer any
	pre        any
	post       any
	decoder    any
}

func readTokenizerJSON(text string) (*tokenizerJSON, error) {
	r, err := newJSONReader(tokenizerFile, text)
	if err != nil {
		return nil, err
	}
	var f tokenizerJSON
	err = r.object(func(key string) error {
		var err error
		switch key {
		case "version":
			var v any
			if v, err = r.small(); err == nil && v != "1.0" {
				err = fmt.Errorf(`%s: version is %s, want "1.0"`, tokenizerFile, describe(v))
			}
		case "added_tokens":
			f.added, err = readAddedTokens(r)
		case "normalizer":
			f.normalizer, err = r.small()
		case "pre_tokenizer":
			f.pre, err = r.small()
		case "post_processor":
			f.post, err = r.small()
		case "decoder":
			f.decoder, err = r.small()
		case "model":
			f.model, err = readModel(r)
		default: // truncation and padding are off unless a caller asks for them
			err = r.skip()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if f.model == nil {
		return nil, fmt.Errorf("%s: there is no model", tokenizerFile)
	}
	if err := f.checkNormalizer(f.normalizer); err != nil {
		return nil, err
	}
	if kind := typeOf(f.decoder); f.decoder != nil && kind != "ByteLevel" {
		return nil, fmt.Errorf(`%s: decoder is %q, want "ByteLevel"`, tokenizerFile, kind)
	}
	return &f, nil
}

// readAddedTokens reads the array of added tokens that the reader stands before.
func readAddedTokens(r *jsonReader) ([]addedSpec, error) {
	const field = tokenizerFile + ": added_tokens"
	var list []addedSpec
	err := r.array(func() error {
		where := fmt.Sprintf("%s[%d]", field, len(list))
		v, err := r.small()
		if err != nil {
			return err
		}
		o, ok := v.(*jsonObject)
		if !ok {
			return fmt.Errorf("%s is %s, want an object", where, describe(v))
		}
		s, err := newAddedSpec(where, o)
		if err != nil {
			return err
		}
		n, _ := o.get("id").(jsonNumber)
		if s.id, ok = parseID(string(n)); !ok {
			return fmt.Errorf("%s: id is %s, want a whole number that is neither negative nor huge", where, describe(o.get("id")))
		}
		list = append(list, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sortedTokens(field, list)
}

// typeOf returns the type that an object names, "" without one.
func typeOf(v any) string {
	if o, ok := v.(*jsonObject); ok {
		kind, _ := o.get("type").(string)
		return kind
	}
	return ""
}

// listOf returns the elements of an object's list.
func listOf(v any, key string) ([]any, bool) {
	if o, ok := v.(*jsonObject); ok {
		list, ok := o.get(key).([]any)
		return list, ok
	}
	return nil, false
}

func (f *tokenizerJSON) checkNormalizer(v any) error {
	if v == nil {
		return nil
	}
	if list, ok := listOf(v, "normalizers"); ok && typeOf(v) == "Sequence" {
		for _, n := range list {
			if err := f.checkNormalizer(n); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%s: normalizer is %q, want null", tokenizerFile, typeOf(v))
}

// splitting is what the pre-tokenizer does to the text between two added tokens.
type splitting struct {
	words       bool // split into words
	prefixSpace bool // first put a space before it, if it does not begin with one
	bytes       bool // spell bytes as the vocabulary does
}

const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// preTokenizer reads a ByteLevel, or a Sequence of a Split by GPT-2's pattern and a ByteLevel.
func (f *tokenizerJSON) preTokenizer() (splitting, error) {
	var s splitting
	if err := s.add(f.pre, "pre_tokenizer"); err != nil {
		return s, err
	}
	if !s.bytes {
		return s, fmt.Errorf(`%s: pre_tokenizer has no "ByteLevel"`, tokenizerFile)
	}
	return s, nil
}

func (s *splitting) add(v any, field string) error {
	o, _ := v.(*jsonObject)
	flag := func(key string, missing bool) (bool, error) {
		if !o.has(key) {
			return missing, nil
		}
		b, ok := o.get(key).(bool)
		if !ok {
			return false, fmt.Errorf("%s: %s.%s is %s, want true or false", tokenizerFile, field, key, describe(o.get(key)))
		}
		return b, nil
	}
	switch kind := typeOf(v); {
	case kind == "Sequence":
		list, ok := listOf(v, "pretokenizers")
		if !ok {
			return fmt.Errorf("%s: %s has no list of pretokenizers", tokenizerFile, field)
		}
		for i, p := range list {
			if err := s.add(p, fmt.Sprintf("%s.pretokenizers[%d]", field, i)); err != nil {
				return err
			}
		}
		return nil
	case s.bytes && kind != "":
		return fmt.Errorf(`%s: %s is %q, want nothing after a "ByteLevel"`, tokenizerFile, field, kind)
	case kind == "ByteLevel":
		prefix, err := flag("add_prefix_space", false)
		if err != nil {
			return err
		}
		regex, err := flag("use_regex", true)
		if err != nil {
			return err
		}
		if s.words && (prefix || regex) {
			return fmt.Errorf(`%s: %s: add_prefix_space or use_regex is true, want false after a "Split"`, tokenizerFile, field)
		}
		s.bytes, s.prefixSpace, s.words = true, prefix, s.words || regex
		return nil
	case kind == "Split":
		pattern, _ := o.get("pattern").(*jsonObject)
		invert, err := flag("invert", false)
		if err != nil {
			return err
		}
		if s.words || pattern == nil || pattern.get("Regex") != gpt2Pattern || o.get("behavior") != "Isolated" || invert {
			return fmt.Errorf("%s: %s is a \"Split\" by another pattern than GPT-2's", tokenizerFile, field)
		}
		s.words = true
		return nil
	default:
		return fmt.Errorf(`%s: %s is %q, want "ByteLevel"`, tokenizerFile, field, kind)
	}
}

// postProcessor returns the ids that are put before and after every text.
func (f *tokenizerJSON) postProcessor() (before, after []int32, err error) {
	err = addProcessor(f.post, "post_processor", &before, &after)
	return before, after, err
}

func addProcessor(v any, field string, before, after *[]int32) error {
	refuse := func(what string) error {
		return fmt.Errorf("%s: %s%s", tokenizerFile, field, what)
	}
	if v == nil {
		return nil
	}
	switch kind := typeOf(v); kind {
	case "ByteLevel": // moves offsets only
		return nil
	case "Sequence":
		list, ok := listOf(v, "processors")
		if !ok {
			return refuse(" has no list of processors")
		}
		for i, p := range list {
			if err := addProcessor(p, fmt.Sprintf("%s.processors[%d]", field, i), before, after); err != nil {
				return err
			}
		}
		return nil
	case "TemplateProcessing":
		return addTemplate(v.(*jsonObject), field, before, after)
	default:
		return refuse(fmt.Sprintf(` is %q, want "ByteLevel" or "TemplateProcessing"`, kind))
	}
}

// addTemplate reads the tokens of a template. tokenizers lets a second template work on the pieces of the first one,
// which is refused.
func addTemplate(o *jsonObject, field string, before, after *[]int32) error {
	refuse := func(what string, args ...any) error {
		return fmt.Errorf("%s: %s.%s", tokenizerFile, field, fmt.Sprintf(what, args...))
	}
	if len(*before)+len(*after) > 0 {
		return refuse("type is a second TemplateProcessing, want one at most")
	}
	single, ok := listOf(o, "single")
	if !ok {
		return refuse("single is %s, want a list", describe(o.get("single")))
	}
	known, _ := o.get("special_tokens").(*jsonObject)
	var front, back []int32
	texts := 0
	for i, v := range single {
		piece, _ := v.(*jsonObject)
		if piece == nil {
			return refuse("single[%d] is %s, want an object", i, describe(v))
		}
		if s, ok := piece.get("Sequence").(*jsonObject); ok && s.get("id") == "A" {
			texts++
			continue
		}
		s, _ := piece.get("SpecialToken").(*jsonObject)
		if s == nil || known == nil {
			return refuse("single[%d] is neither a special token nor the text", i)
		}
		name, _ := s.get("id").(string)
		list, ok := listOf(known.get(name), "ids")
		if !ok {
			return refuse("special_tokens has no ids for %q", name)
		}
		for _, v := range list {
			n, _ := v.(jsonNumber)
			id, ok := parseID(string(n))
			if !ok {
				return refuse("special_tokens: the id of %q is %s, want a token id", name, describe(v))
			}
			if texts == 0 {
				front = append(front, id)
			} else {
				back = append(back, id)
			}
		}
	}
	if texts != 1 {
		return refuse("single has the text %d times, want once", texts)
	}
	*before, *after = front, back
	return nil
}
