package tokenizer

import (
	"encoding/json"
	"fmt"
)

// TokenizerJSON writes the parts as a tokenizer.json (the format of Hugging
// Face's tokenizers, version 1.0).
func (p Parts) TokenizerJSON() []byte {
	type addedJSON struct {
		ID         int    `json:"id"`
		Content    string `json:"content"`
		SingleWord bool   `json:"single_word"`
		LStrip     bool   `json:"lstrip"`
		RStrip     bool   `json:"rstrip"`
		Normalized bool   `json:"normalized"`
		Special    bool   `json:"special"`
	}
	added := []addedJSON{}
	vocab := []byte{'{'}
	for id, piece := range p.Tokens {
		if piece.Kind == Hole {
			continue
		}
		if len(vocab) > 1 {
			vocab = append(vocab, ',')
		}
		vocab = fmt.Appendf(append(vocab, quoteJSON(piece.Text)...), ":%d", id)
		if special := piece.Kind == Special; special || piece.Kind == Added {
			added = append(added, addedJSON{ID: id, Content: piece.Text, Normalized: !special, Special: special})
		}
	}
	vocab = append(vocab, '}')

	byteLevel := func(prefixSpace, trimOffsets bool) any {
		return map[string]any{"type": "ByteLevel", "add_prefix_space": prefixSpace, "trim_offsets": trimOffsets, "use_regex": true}
	}
	merges := p.Merges
	if merges == nil {
		merges = []string{}
	}
	var post = byteLevel(true, false)
	if len(p.Before)+len(p.After) > 0 {
		post = p.template()
	}
	file := struct {
		Version      string      `json:"version"`
		Truncation   any         `json:"truncation"`
		Padding      any         `json:"padding"`
		Added        []addedJSON `json:"added_tokens"`
		Normalizer   any         `json:"normalizer"`
		PreTokenizer any         `json:"pre_tokenizer"`
		Post         any         `json:"post_processor"`
		Decoder      any         `json:"decoder"`
		Model        any         `json:"model"`
	}{
		Version: "1.0", Added: added, PreTokenizer: byteLevel(p.PrefixSpace, true), Post: post, Decoder: byteLevel(true, true),
		Model: struct {
			Type         string          `json:"type"`
			Dropout      any             `json:"dropout"`
			UNK          any             `json:"unk_token"`
			Prefix       string          `json:"continuing_subword_prefix"`
			Suffix       string          `json:"end_of_word_suffix"`
			FuseUNK      bool            `json:"fuse_unk"`
			ByteFallback bool            `json:"byte_fallback"`
			IgnoreMerges bool            `json:"ignore_merges"`
			Vocab        json.RawMessage `json:"vocab"`
			Merges       []string        `json:"merges"`
		}{Type: "BPE", Vocab: vocab, Merges: merges},
	}
	return mustJSON(file)
}

// template is the post-processor that puts tokens around a text.
func (p Parts) template() any {
	special := map[string]any{}
	var single []any
	token := func(id int32) {
		text := p.Tokens[id].Text
		special[text] = map[string]any{"id": text, "ids": []int32{id}, "tokens": []string{text}}
		single = append(single, map[string]any{"SpecialToken": map[string]any{"id": text, "type_id": 0}})
	}
	for _, id := range p.Before {
		token(id)
	}
	single = append(single, map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}})
	for _, id := range p.After {
		token(id)
	}
	pair := append(append([]any{}, single...), map[string]any{"Sequence": map[string]any{"id": "B", "type_id": 1}})
	return map[string]any{"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}
}

// SettingsJSON writes what of the parts stands in a tokenizer_config.json, for
// texts of at most length tokens.
func (p Parts) SettingsJSON(length int) []byte {
	settings := map[string]any{"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": p.PrefixSpace, "model_max_length": length}
	for _, t := range []struct {
		key string
		id  int32
	}{{"bos_token", p.BOS}, {"eos_token", p.EOS}, {"unk_token", p.UNK}, {"pad_token", p.PAD}} {
		settings[t.key] = nil // said aloud: silence means <|endoftext|>
		if t.id >= 0 && int(t.id) < len(p.Tokens) && p.Tokens[t.id].Kind != Hole {
			settings[t.key] = p.Tokens[t.id].Text
		}
	}
	return mustJSON(settings)
}

func quoteJSON(s string) []byte { return mustJSON(s) }

// mustJSON writes values that always have a JSON form.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}
