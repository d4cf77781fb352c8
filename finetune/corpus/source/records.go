package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Template is how instructions and conversations are written. What is before
// the answer is masked; the answer, and the end of the text after it, is
// learnt. The zero value is DefaultTemplate.
type Template struct {
	Instruction, Input, Response string // headings of an instruction
	System, User, Assistant      string // begin a turn of a conversation
}

// DefaultTemplate is the format that people fine-tune small models with most.
var DefaultTemplate = Template{
	Instruction: "### Instruction:\n", Input: "### Input:\n", Response: "### Response:\n",
	System: "System: ", User: "User: ", Assistant: "Assistant:",
}

// message is one turn of a conversation.
type message struct{ role, content string }

// record is what the formats of named fields have in common: get gives the
// value of a text field, and whether there is one; turns gives a conversation.
type record struct {
	names []string
	get   func(name string) (value string, ok bool, err error)
	turns func() ([]message, error)
}

// The usual names of the fields.
const (
	fieldText        = "text"
	fieldPrompt      = "prompt"
	fieldCompletion  = "completion"
	fieldInstruction = "instruction"
	fieldInput       = "input"
	fieldOutput      = "output"
	fieldMessages    = "messages"
)

// layout is which fields make a document.
type layout int

const (
	layoutNone layout = iota
	layoutText
	layoutPrompt
	layoutInstruction
	layoutMessages
)

// layoutOf chooses by the names that are there.
func (o *Options) layoutOf(names []string) (layout, error) {
	has := func(all ...string) bool {
		for _, n := range all {
			if !slices.Contains(names, n) {
				return false
			}
		}
		return true
	}
	switch {
	case o.Column != "":
		if has(o.Column) {
			return layoutText, nil
		}
		return layoutNone, fmt.Errorf("no field %q; there is %s", o.Column, list(names))
	case has(fieldMessages):
		return layoutMessages, nil
	case has(fieldInstruction, fieldOutput):
		return layoutInstruction, nil
	case has(fieldPrompt, fieldCompletion):
		return layoutPrompt, nil
	case has(fieldText):
		return layoutText, nil
	}
	// Half a pair is more likely what was meant than none.
	for _, pair := range [][2]string{{fieldPrompt, fieldCompletion}, {fieldInstruction, fieldOutput}} {
		for i := range pair {
			if has(pair[i]) {
				return layoutNone, fmt.Errorf("a field %q without %q; there is %s", pair[i], pair[1-i], list(names))
			}
		}
	}
	return layoutNone, fmt.Errorf("no field %q (nor prompt and completion, instruction and output, or messages); there is %s; column=NAME takes another one", fieldText, list(names))
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	const most = 12
	var b strings.Builder
	for i, n := range names[:min(len(names), most)] {
		if i > 0 {
			b.WriteString(", ")
		}
		if len(n) > 60 {
			n = n[:60] + "…"
		}
		fmt.Fprintf(&b, "%q", n)
	}
	if len(names) > most {
		fmt.Fprintf(&b, " and %d more", len(names)-most)
	}
	return b.String()
}

// document makes the parts of a record.
func (o *Options) document(r record) ([]Part, error) {
	l, err := o.layoutOf(r.names)
	if err != nil {
		return nil, err
	}
	need := func(name string) string {
		v, ok, e := r.get(name)
		if e != nil {
			err = errors.Join(err, e)
		} else if !ok {
			err = errors.Join(err, fmt.Errorf("the field %q has no value (null)", name))
		}
		return v
	}
	t := o.Template
	if t == (Template{}) {
		t = DefaultTemplate
	}
	var parts []Part
	switch l {
	case layoutText:
		name := fieldText
		if o.Column != "" {
			name = o.Column
		}
		parts = []Part{{Text: need(name)}}
	case layoutPrompt:
		parts = []Part{{Text: need(fieldPrompt), Masked: true}, {Text: need(fieldCompletion)}}
	case layoutInstruction:
		prompt := t.Instruction + need(fieldInstruction) + "\n\n"
		// The input is optional, in the record and in its value.
		if slices.Contains(r.names, fieldInput) {
			if in, _, e := r.get(fieldInput); e != nil {
				err = errors.Join(err, e)
			} else if in != "" {
				prompt += t.Input + in + "\n\n"
			}
		}
		parts = []Part{{Text: prompt + t.Response, Masked: true}, {Text: need(fieldOutput)}}
	case layoutMessages:
		turns, e := r.turns()
		if e != nil {
			return nil, e
		}
		return t.conversation(turns)
	}
	return parts, err
}

// conversation writes turns, one below the other: the assistant's words are
// learnt, with the line end after them, all else is masked.
func (t *Template) conversation(turns []message) ([]Part, error) {
	var parts []Part
	add := func(s string, masked bool) {
		if n := len(parts); n > 0 && parts[n-1].Masked == masked {
			parts[n-1].Text += s
			return
		}
		parts = append(parts, Part{Text: s, Masked: masked})
	}
	answers := 0
	for i, m := range turns {
		end := "\n"
		if i == len(turns)-1 {
			end = ""
		}
		switch m.role {
		case "system", "developer":
			add(t.System+m.content+end, true)
		case "user", "human":
			add(t.User+m.content+end, true)
		case "assistant", "gpt":
			answers++
			add(t.Assistant, true)
			// The space belongs to the first word, as everywhere in GPT-2's text.
			add(" "+m.content+end, false)
		default:
			return nil, fmt.Errorf("message %d has the role %q, want system, user or assistant", i+1, m.role)
		}
	}
	if answers == 0 {
		return nil, errors.New("a conversation without an answer of the assistant teaches nothing")
	}
	return parts, nil
}

// jsonTurns reads a conversation from JSON: [{"role", "content"}…], where the
// content is text or a list of {"type": "text", "text"}.
func jsonTurns(raw []byte) ([]message, error) {
	var in []struct {
		Role    *string         `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("the field %q is not a list of messages with role and content", fieldMessages)
	}
	turns := make([]message, len(in))
	for i, m := range in {
		if m.Role == nil || m.Content == nil {
			return nil, fmt.Errorf("message %d has no role or no content", i+1)
		}
		var content string
		if err := json.Unmarshal(m.Content, &content); err != nil {
			var pieces []struct{ Type, Text string }
			if err := json.Unmarshal(m.Content, &pieces); err != nil {
				return nil, fmt.Errorf("the content of message %d is not text", i+1)
			}
			for _, p := range pieces {
				if p.Type != "text" {
					return nil, fmt.Errorf("the content of message %d is of type %q, want text", i+1, p.Type)
				}
				content += p.Text
			}
		}
		turns[i] = message{role: *m.Role, content: content}
	}
	return turns, nil
}
