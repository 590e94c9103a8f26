package passtest

import (
	"os"
	"testing"

	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// argoCD is what Argo CD makes of an object of a kind by the script that docs/gitops.md has people install.
func argoCD(t *testing.T, kind string, content map[string]any) string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/examples/argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	settings := &corev1.ConfigMap{}
	if err := yaml.UnmarshalStrict(raw, settings); err != nil {
		t.Fatal(err)
	}
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", luaValue(state, content))
	if err := state.DoString(settings.Data["resource.customizations.health.cluster.refinery.dev_"+kind]); err != nil {
		t.Fatal(err)
	}
	health, ok := state.Get(-1).(*lua.LTable)
	if !ok || lua.LVAsString(health.RawGetString("message")) == "" {
		t.Fatalf("the script returns %v", state.Get(-1))
	}
	return lua.LVAsString(health.RawGetString("status"))
}

// luaValue carries a value over as Argo CD does.
func luaValue(state *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, item := range v {
			table.RawSetString(key, luaValue(state, item))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, item := range v {
			table.Append(luaValue(state, item))
		}
		return table
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case bool:
		return lua.LBool(v)
	}
	return lua.LNil
}
