package tokenizer

import "testing"

func TestWords(t *testing.T) {
	byID := []string{"a", "", "bc", "Ġd"}
	w, twice := newWords(byID, 1)
	if twice != noID || w.count != 4 {
		t.Fatalf("got %d tokens, %d twice; want 4, none", w.count, twice)
	}
	for i, text := range byID {
		if got := w.at(int32(i)); got != text {
			t.Errorf("token %d is %q, want %q", i, got, text)
		}
		if id, ok := w.find(text); !ok || id != int32(i) {
			t.Errorf("%q has id %d, %v; want %d", text, id, ok, i)
		}
	}
	for _, text := range []string{"b", "c", "abc", "d"} {
		if id, ok := w.find(text); ok {
			t.Errorf("%q has id %d, want none", text, id)
		}
	}
	for _, id := range []int32{-1, 4} {
		if got := w.at(id); got != "" {
			t.Errorf("token %d is %q, want none", id, got)
		}
	}
	if _, twice := newWords([]string{"a", "b", "a"}, noID); twice != 2 {
		t.Errorf("the token that occurs twice is %d, want 2", twice)
	}
	if none, _ := newWords(nil, noID); none.count != 0 {
		t.Errorf("got %d tokens, want none", none.count)
	} else if _, ok := none.find("a"); ok {
		t.Error("a vocabulary without tokens has one")
	}
}
