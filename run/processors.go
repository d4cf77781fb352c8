package run

import (
	"fmt"
	"math"
	"slices"
)

// A processor changes the scores [vocab] of the next token in view of those
// before it: transformers' LogitsProcessor, in float32 as there.
type processor interface {
	process(h history, scores []float32)
}

// history is what comes before the token that is to be chosen.
type history struct {
	tokens []int // prompt and continuation
	prompt int   // how many of tokens are the prompt
}

func (h history) generated() []int { return h.tokens[h.prompt:] }

// newProcessors returns the processors that the settings ask for, in the order
// of transformers' _get_logits_processor. prompt and limit are the lengths of
// the prompt and of the longest text; eos is empty if nothing ends a text.
//
// transformers has no presence and frequency penalties. Here they follow the
// repetition penalty and count tokens of the continuation alone.
func newProcessors(s *Settings, eos []int, prompt, limit int) []processor {
	var list []processor
	add := func(wanted bool, p processor) {
		if wanted {
			list = append(list, p)
		}
	}
	seen := new(marks)
	add(len(s.SequenceBias) > 0, newSequenceBias(s.SequenceBias))
	add(s.RepetitionPenalty != 1, repetitionPenalty{float32(s.RepetitionPenalty), seen})
	add(s.PresencePenalty != 0 || s.FrequencyPenalty != 0,
		countPenalty{float32(s.PresencePenalty), float32(s.FrequencyPenalty), seen})
	add(s.NoRepeatNgramSize > 0, noRepeatNgram(s.NoRepeatNgramSize))
	add(len(s.BadWords) > 0, newBadWords(s.BadWords, eos))
	shortest := s.MinLength
	if s.MinNewTokens != Unset {
		shortest = prompt + s.MinNewTokens
	}
	add(shortest > 0 && len(eos) > 0, minLength{shortest, eos})
	add(s.ForcedBOS != Unset, forcedTokens{1, []int{s.ForcedBOS}})
	add(len(s.ForcedEOS) > 0, forcedTokens{limit - 1, s.ForcedEOS})
	add(s.RemoveInvalid, removeInvalid{})
	add(s.DecayPenalty.Factor != 0 && len(eos) > 0, decayPenalty{prompt + s.DecayPenalty.Start, s.DecayPenalty.Factor, eos})
	add(len(s.Suppress) > 0, suppress(s.Suppress))
	begin := prompt
	if prompt <= 1 && s.ForcedBOS != Unset {
		begin++ // the forced token comes first
	}
	add(len(s.BeginSuppress) > 0, beginSuppress{begin, s.BeginSuppress})
	return list
}

var negInf = float32(math.Inf(-1))

// forbid gives tokens no chance; those beyond the vocabulary have none anyway.
func forbid(scores []float32, tokens []int) {
	for _, t := range tokens {
		if t >= 0 && t < len(scores) {
			scores[t] = negInf
		}
	}
}

// sequenceBias adds biases to the last tokens of sequences whose other tokens
// have just been.
type sequenceBias []SequenceBias

// newSequenceBias keeps the last of equal sequences, as transformers does.
func newSequenceBias(list []SequenceBias) (p sequenceBias) {
	seen := map[string]bool{}
	for _, b := range slices.Backward(list) {
		key := fmt.Sprint(b.Tokens)
		if !seen[key] {
			seen[key] = true
			p = append(p, b)
		}
	}
	return p
}

// newBadWords forbids the ends of sequences. End-of-text tokens by themselves
// stay allowed.
func newBadWords(words [][]int, eos []int) (p sequenceBias) {
	for _, w := range words {
		if len(w) == 1 && slices.Contains(eos, w[0]) {
			continue
		}
		p = append(p, SequenceBias{w, math.Inf(-1)})
	}
	return p
}

func (p sequenceBias) process(h history, scores []float32) {
	for _, b := range p {
		last := len(b.Tokens) - 1
		if endsWith(h.tokens, b.Tokens[:last]) {
			scores[b.Tokens[last]] += float32(b.Bias)
		}
	}
}

func endsWith(tokens, suffix []int) bool {
	return len(suffix) <= len(tokens) && slices.Equal(tokens[len(tokens)-len(suffix):], suffix)
}

// repetitionPenalty divides positive and multiplies negative scores of all
// tokens so far (Keskar et al. 2019), once each.
type repetitionPenalty struct {
	penalty float32
	marks   *marks
}

func (p repetitionPenalty) process(h history, scores []float32) {
	p.marks.reset(len(scores))
	for _, t := range h.tokens {
		if p.marks.add(t) > 1 {
			continue
		}
		if scores[t] < 0 {
			scores[t] *= p.penalty
		} else {
			scores[t] /= p.penalty
		}
	}
}

// countPenalty is OpenAI's: score − count·frequency − (count > 0)·presence,
// where count is how often the token has been generated.
type countPenalty struct {
	presence, frequency float32
	marks               *marks
}

func (p countPenalty) process(h history, scores []float32) {
	p.marks.reset(len(scores))
	for _, t := range h.generated() {
		p.marks.add(t)
	}
	for _, t := range h.generated() {
		if n := p.marks.take(t); n > 0 {
			scores[t] -= float32(n)*p.frequency + p.presence
		}
	}
}

// marks counts tokens without being cleared in between.
type marks struct {
	round int32
	seen  []mark
}

type mark struct{ round, count int32 }

func (m *marks) reset(vocab int) {
	if len(m.seen) != vocab || m.round == math.MaxInt32 {
		m.seen, m.round = make([]mark, vocab), 0
	}
	m.round++
}

// add returns how often the token has been added since reset.
func (m *marks) add(token int) int {
	k := &m.seen[token]
	if k.round != m.round {
		*k = mark{round: m.round}
	}
	k.count++
	return int(k.count)
}

// take returns a token's count and forgets it.
func (m *marks) take(token int) int {
	n := m.seen[token].count
	m.seen[token].count = 0
	return int(n)
}

// noRepeatNgram forbids what would make the last n tokens occur a second time.
type noRepeatNgram int

func (n noRepeatNgram) process(h history, scores []float32) {
	size, tokens := int(n), h.tokens
	if len(tokens) < size {
		return
	}
	prefix := tokens[len(tokens)+1-size:]
	for i := 0; i+size <= len(tokens); i++ {
		if slices.Equal(tokens[i:i+size-1], prefix) {
			scores[tokens[i+size-1]] = negInf
		}
	}
}

// minLength forbids the end of a text that is shorter.
type minLength struct {
	length int
	eos    []int
}

func (p minLength) process(h history, scores []float32) {
	if len(h.tokens) < p.length {
		forbid(scores, p.eos)
	}
}

// forcedTokens leaves only some tokens, all alike, to a text of one length.
type forcedTokens struct {
	length int
	tokens []int
}

func (p forcedTokens) process(h history, scores []float32) {
	if len(h.tokens) != p.length {
		return
	}
	for i := range scores {
		scores[i] = negInf
	}
	for _, t := range p.tokens {
		scores[t] = 0
	}
}

// removeInvalid makes every score finite.
type removeInvalid struct{}

func (removeInvalid) process(_ history, scores []float32) {
	for i, v := range scores {
		switch {
		case v != v:
			scores[i] = 0
		case v > math.MaxFloat32:
			scores[i] = math.MaxFloat32
		case v < -math.MaxFloat32:
			scores[i] = -math.MaxFloat32
		}
	}
}

// decayPenalty raises the scores of end-of-text tokens more and more.
type decayPenalty struct {
	start  int // length of the text
	factor float64
	eos    []int
}

func (p decayPenalty) process(h history, scores []float32) {
	n := len(h.tokens) - p.start
	if n <= 0 {
		return
	}
	raise := float32(min(math.Pow(p.factor, float64(n))-1, mostBias))
	for i, t := range p.eos {
		if t < 0 || t >= len(scores) || slices.Contains(p.eos[:i], t) || math.IsInf(float64(scores[t]), 0) {
			continue
		}
		scores[t] += float32(math.Abs(float64(scores[t]))) * raise
	}
}

// suppress forbids tokens always.
type suppress []int

func (p suppress) process(_ history, scores []float32) { forbid(scores, p) }

// beginSuppress forbids tokens to a text of one length.
type beginSuppress struct {
	length int
	tokens []int
}

func (p beginSuppress) process(h history, scores []float32) {
	if len(h.tokens) == p.length {
		forbid(scores, p.tokens)
	}
}
