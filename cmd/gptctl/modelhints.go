package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/gptctl/gptctl/fetch"
	"github.com/gptctl/gptctl/internal/gguf"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/lora"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/torchfile"
	"github.com/gptctl/gptctl/run"
)

// modelHints adds what mends a model that cannot be opened.
func modelHints(model string, err error) error {
	var missing *modelfiles.MissingFilesError
	var invalid *fetch.InvalidIDError
	var other *modelfiles.NoModelError
	var unreadable *run.UnreadableModelError
	var foreign *torchfile.GlobalError
	var quantised *gguf.TypeError
	var adapter *lora.Error
	switch {
	case errors.As(err, &adapter):
		return err
	case errors.Is(err, fetch.ErrNotCached):
		return withHints(err, "gptctl fetch "+model, "gptctl run --model demo works without a download")
	case errors.As(err, &missing):
		if lora.Is(missing.Dir) {
			return withHints(err, "it is an adapter: gptctl run --adapter "+missing.Dir, "gptctl convert --adapter "+missing.Dir+" --out ./whole makes a model of it and the one it belongs to")
		}
		if missing.Dir == model { // a folder; what it is called on the Hub only the user knows
			return withHints(err, "gptctl fetch MODEL --dir "+model)
		}
		return withHints(err, "gptctl fetch "+model)
	case errors.As(err, &invalid), errors.As(err, &other), errors.Is(err, fs.ErrNotExist):
		return withHints(err, "a model is demo, a folder, a .gguf file, or a Hub id such as gpt2 or openai-community/gpt2")
	case errors.As(err, &foreign):
		return withHints(err, "the file is built to run code of its own: do not load it with other tools either")
	case errors.As(err, &quantised):
		return withHints(err, "convert the model that the file was made from: gptctl convert MODEL --out FILE.gguf --dtype q8_0",
			"llama.cpp's llama-quantize --allow-requantize makes a file of type q8_0 from it, at a loss")
	case errors.As(err, &unreadable):
		return withHints(err, unreadableHints(model, err)...)
	}
	return err
}

// unreadableHints mend a model whose files are there but cannot be read: one of another
// family, of another format, or damaged.
func unreadableHints(model string, err error) []string {
	const convert = "gptctl convert MODEL --out FILE.gguf"
	var family *gpt2.FamilyError
	var format *gguf.FormatError
	info, notHere := os.Stat(model)
	switch {
	case errors.As(err, &family):
		return []string{"gptctl runs the GPT-2 family: model_type gpt2 in config.json, or architecture gpt2 with GPT-2's tokenizer in a GGUF file"}
	case errors.As(err, &format) && format.Mend != "":
		return []string{format.Mend}
	case errors.As(err, &format):
		return []string{"convert the model that the file was made from: " + convert}
	case notHere != nil: // a model of the Hub
		return []string{"gptctl fetch " + model + " compares its files with the Hub's hashes and mends what differs"}
	case info.IsDir():
		return []string{"fetch the model again, or save it again with save_pretrained"}
	}
	return []string{"fetch or copy the file again, or convert the model that it was made from: " + convert}
}
