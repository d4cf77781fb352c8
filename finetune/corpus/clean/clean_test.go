package clean

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

func TestGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/golden.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	do := map[string]func(string) string{"mojibake": repair, "honest": repair, "nfc": compose, "entity": stripHTML}
	count := map[string]int{}
	for line := range bytes.Lines(raw) {
		var c struct{ Kind, In, Out, Ftfy string }
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		// ftfy may leave what we repair and the other way round.
		got := do[c.Kind](c.In)
		if c.Kind == "mojibake" {
			count["all"]++
			if got == c.Out {
				count["repaired"]++
			}
			if c.Ftfy == c.Out {
				count["repaired by ftfy"]++
			}
		}
		if got != c.Out && (c.Ftfy == c.Out || c.Kind != "mojibake") {
			t.Errorf("%s: %q gives %q, want %q", c.Kind, c.In, got, c.Out)
		}
	}
	t.Log("mojibake:", count)
}
