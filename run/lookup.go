package run

import (
	"errors"
	"slices"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// Speculation by prompt lookup: what followed the last few tokens when they
// occurred before is a guess at what follows now. The model reads the guess along
// with the last token, which takes little longer than that token alone, and each
// of its positions is then sampled as ever, with the same scores, the same
// settings and the same random numbers, for as long as the samples are what was
// guessed. So the text is the one without guesses, token for token; only time
// differs. (Leviathan et al. 2023 describe drafts and their verification, Saxena
// 2023 those that are looked up in the prompt.)

// mostRows are read at once at most, all samples together: reading that many takes
// about as long as reading one.
const mostRows = 16

// Lengths of the runs of tokens that are looked up.
const (
	longestMatch = 6
	firstNeed    = 2 // what a match must have at first
)

// lookupWindow bounds how far back a text is searched.
const lookupWindow = 1 << 13

// drafter guesses how one sample goes on. It guesses less the less it was right:
// a text that does not repeat itself must not pay for it.
type drafter struct {
	width int // tokens to guess at most
	need  int // how long a match must be
}

func newDrafter() drafter { return drafter{width: 4, need: firstNeed} }

// draft returns up to most tokens that may follow.
func (d *drafter) draft(tokens []int, most int) []int {
	if most = min(most, d.width); most <= 0 {
		return nil
	}
	tokens = tokens[max(0, len(tokens)-lookupWindow):]
	at := latest(tokens, d.need)
	if at < 0 {
		return nil
	}
	// What is looked up may run into the guess itself: a text that goes round
	// in a circle.
	draft := make([]int, 0, most)
	for i := at; len(draft) < most; i++ {
		if i < len(tokens) {
			draft = append(draft, tokens[i])
		} else {
			draft = append(draft, draft[i-len(tokens)])
		}
	}
	return draft
}

// latest returns where the text went on the last time that its end occurred
// before: the longest end that did, of at least need tokens; -1 if there is none.
func latest(tokens []int, need int) int {
	best, at := need-1, -1
	n := len(tokens)
	for end := n - 1; end > best && best < longestMatch; end-- {
		length := 0
		for length < min(end, longestMatch) && tokens[end-1-length] == tokens[n-1-length] {
			length++
		}
		if length > best {
			best, at = length, end
		}
	}
	return at
}

// learn notes how many tokens of a guess were right.
func (d *drafter) learn(drafted, right int) {
	switch {
	case right == drafted:
		d.width, d.need = min(2*d.width, mostRows), max(d.need-1, 1)
	case right == 0:
		d.width, d.need = max(d.width/2, 1), min(d.need+1, longestMatch)
	default:
		d.width = right + 1
	}
}

// guess returns what the model is to read of a sample: what it has not read yet
// and, if that is one token, up to most tokens of a guess.
func (run *generation) guess(c *continuation, unread []int, most int) []int {
	c.draft = nil
	if len(unread) != 1 || run.settings.Lookup == 0 || run.mistrusted {
		return unread
	}
	length := len(c.history.tokens)
	most = min(most, run.settings.Lookup,
		run.limit-length-1, // one token more is chosen than was guessed
		run.context-(length-run.windowStart(length)))
	c.draft = c.drafter.draft(c.history.tokens, most)
	if len(c.draft) == 0 {
		return unread
	}
	return slices.Concat(unread, c.draft)
}

// share is how many tokens may be guessed of each of so many samples.
func share(samples int) int { return mostRows/samples - 1 }

// verify chooses the tokens that follow one position of a sample: it is called for
// the last token that was settled, then for each token of the guess, until one
// is wrong.
func (run *generation) verify(c *continuation, position int, logits []float32) error {
	if position > len(c.draft) || position != c.right || c.finish != "" {
		return nil
	}
	if err := run.advance(c, logits); err != nil {
		return err
	}
	run.result.Stats.DecodeTokens++
	if position < len(c.draft) && c.history.tokens[len(c.history.tokens)-1] == c.draft[position] {
		c.right++
	}
	return nil
}

// settle forgets what the model has read of a wrong guess, and learns from it.
func (run *generation) settle(c *continuation, start int) {
	if len(c.draft) == 0 {
		return
	}
	c.sequence.Truncate(len(c.history.tokens) - 1 - start)
	c.drafter.learn(len(c.draft), c.right)
	run.result.Stats.Drafted += len(c.draft)
	run.result.Stats.Accepted += c.right
}

// retry reports whether an error may be a wrong guess's: the model overflows on a
// text that nobody has asked for. Nothing is guessed from then on; the next
// round reads what was chosen so far.
func (run *generation) retry(err error, samples []*continuation) bool {
	var overflow *gpt2.NonFiniteError
	if !errors.As(err, &overflow) || !slices.ContainsFunc(samples, func(c *continuation) bool { return len(c.draft) > 0 }) {
		return false
	}
	run.mistrusted = true
	return true
}
