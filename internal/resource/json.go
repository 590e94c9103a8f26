package resource

import (
	"encoding/json"
	"fmt"
)

// convertJSON carries a value over into another type with the same JSON form, such as an API type
// into its apply configuration.
func convertJSON(from, to any) error {
	raw, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("encode %T: %w", from, err)
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("decode into %T: %w", to, err)
	}
	return nil
}
