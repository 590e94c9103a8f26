package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctls are the kernel settings that the cluster and its components change: what they are before `up` is what `down` puts back.
var sysctls = []string{
	"net/ipv4/ip_forward",                // the bridge CNI plugin
	"net/bridge/bridge-nf-call-iptables", // see setSysctls
	"vm/overcommit_memory",               // the kubelet, and so the others below
	"kernel/panic",
	"kernel/panic_on_oops",
	"kernel/keys/root_maxkeys",
	"kernel/keys/root_maxbytes",
}

// savedSysctls is the content of the file that remembers them.
type savedSysctls struct {
	// Boot is the kernel's id of the boot they belong to: after another boot there is nothing to put back.
	Boot   string            `json:"boot"`
	Values map[string]string `json:"values"`
}

func sysctlFile() string { return under("sysctls.json") }

func readSysctl(name string) (string, error) {
	content, err := os.ReadFile(filepath.Join("/proc/sys", name))
	return strings.TrimSpace(string(content)), err
}

func writeSysctl(name, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644)
}

// saveSysctls remembers the machine's settings. It runs before anything that changes them.
func saveSysctls() error {
	boot, err := readSysctl("kernel/random/boot_id")
	if err != nil {
		return err
	}
	saved := savedSysctls{Boot: boot, Values: map[string]string{}}
	for _, name := range sysctls {
		value, err := readSysctl(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		saved.Values[name] = value
	}
	content, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	return os.WriteFile(sysctlFile(), content, 0o600)
}

// setSysctls sets what no component sets for itself.
func setSysctls() error {
	for _, name := range []string{"net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"} {
		if err := writeSysctl(name, "1"); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// restoreSysctls puts back what saveSysctls remembered in this boot, and says what it changed.
func restoreSysctls() (changed []string, err error) {
	content, err := os.ReadFile(sysctlFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var saved savedSysctls
	if json.Unmarshal(content, &saved) != nil {
		// Written half when the machine stopped: nothing had been changed by then.
		return nil, nil
	}
	if boot, err := readSysctl("kernel/random/boot_id"); err != nil || boot != saved.Boot {
		return nil, err
	}
	for _, name := range sysctls {
		value, ok := saved.Values[name]
		if !ok {
			continue
		}
		if now, err := readSysctl(name); err == nil && now == value {
			continue
		}
		if err := writeSysctl(name, value); err != nil {
			return changed, fmt.Errorf("put back %s=%s: %w", name, value, err)
		}
		changed = append(changed, name+"="+value)
	}
	return changed, nil
}
