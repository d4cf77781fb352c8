// Package run generates text: prompt → tokens → model → logits → processors →
// choice → text, for one prompt and any number of samples.
//
// A caller resolves [Settings] (the program's defaults, then what the model's
// generation_config.json sets, then what its user sets) and calls
// [Generator.Generate], which streams tokens as they are settled and returns
// everything at the end:
//
//	model, err := run.ParseGenerationConfig(path, data)
//	s := run.Resolve(model, run.Layer{func(s *run.Settings) { s.SetTemperature(0) }})
//	result, err := run.New(m, tok).Generate(ctx, run.Request{Prompt: "It was", Settings: s})
//
// Names, meanings, ranges and the order of all settings that shape the logits
// are those of Hugging Face's GenerationConfig (transformers 5.23), so that
// equal settings give equal distributions. The package prints nothing.
package run
