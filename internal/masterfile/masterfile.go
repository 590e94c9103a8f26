// Package masterfile is the file that tells the nodes in pods where their master is and how often it wants to hear from them. The
// operator writes it into a ConfigMap, so that a change reaches nodes that run.
package masterfile

import (
	"encoding/json"
	"fmt"
	"time"
)

// Name is the file's name, and the key of the ConfigMap.
const Name = "master.json"

// Settings are what a node needs to know of its master, apart from secrets.
type Settings struct {
	// Address is where the master listens, as host:port.
	Address string
	// AliveInterval is the time between heartbeats, AliveTimeout how long either side may be silent.
	AliveInterval, AliveTimeout time.Duration
}

// content is the JSON. A node ignores fields that it does not know: the operator may be newer.
type content struct {
	Address              string `json:"address"`
	AliveIntervalSeconds int64  `json:"aliveIntervalSeconds"`
	AliveTimeoutSeconds  int64  `json:"aliveTimeoutSeconds"`
}

// Encode returns the content of the file. Times are cut to seconds.
func (s Settings) Encode() string {
	raw, err := json.MarshalIndent(content{s.Address, int64(s.AliveInterval / time.Second), int64(s.AliveTimeout / time.Second)}, "", "  ")
	if err != nil {
		panic(err) // strings and numbers can always be encoded
	}
	return string(raw) + "\n"
}

// Parse reads the content of the file. It judges no value.
func Parse(text []byte) (Settings, error) {
	var c content
	if err := json.Unmarshal(text, &c); err != nil {
		return Settings{}, fmt.Errorf("is not as the operator writes it: %w", err)
	}
	const most = int64(1<<63-1) / int64(time.Second)
	if c.AliveIntervalSeconds > most || c.AliveTimeoutSeconds > most {
		return Settings{}, fmt.Errorf("has a time of more than %d seconds", most)
	}
	return Settings{c.Address, time.Duration(c.AliveIntervalSeconds) * time.Second, time.Duration(c.AliveTimeoutSeconds) * time.Second}, nil
}
