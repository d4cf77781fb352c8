package run

import "errors"

// ParseGenerationConfig reads a model's generation_config.json.
func ParseGenerationConfig(name string, data []byte) (Layer, error) {
	return nil, errors.New("not yet")
}

// Validate checks the settings.
func (s *Settings) Validate() error { return nil }
