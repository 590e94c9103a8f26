package rights

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

// grant is one verb on one resource, of which a role may name the objects.
type grant struct {
	group, resource, verb string
	// name is a pattern of path.Match; "" stands for any object.
	name string
	// meant is the name with the other verbs, where the verb is create, which RBAC cannot bind to a name.
	meant string
}

func (g grant) String() string { return describe(g.verb, g.group, g.resource, g.name) }

func describe(verb, group, resource, name string) string {
	return strings.Join(slices.DeleteFunc([]string{verb, group, resource, name}, func(s string) bool { return s == "" }), " ")
}

// grantsOf are those of one role.
func grantsOf(rules []rbacv1.PolicyRule) []grant {
	var grants []grant
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, name := range names {
						grants = append(grants, grant{group: group, resource: resource, verb: verb, name: name})
					}
				}
			}
		}
	}
	for i, g := range grants {
		named := slices.IndexFunc(grants, func(o grant) bool { return o.name != "" && o.group == g.group && o.resource == g.resource })
		if g.verb == "create" && named >= 0 {
			grants[i].meant = grants[named].name
		}
	}
	return grants
}

// allows reports whether RBAC allows the request by this grant.
func (g grant) allows(r Request) bool {
	return g.group == r.Group && g.resource == r.Resource && g.verb == r.Verb && match(g.name, r.Name)
}

// usedBy reports whether the request is what the grant is there for.
func (g grant) usedBy(r Request) bool { return g.allows(r) && match(g.meant, r.Name) }

// isForNamed reports whether a grant of any object is not what the request needs, as there is one of the object by its name.
func isForNamed(g grant, r Request, granted map[grant]string) bool {
	if g.name != "" || g.meant != "" {
		return false
	}
	return slices.ContainsFunc(slices.Collect(maps.Keys(granted)), func(o grant) bool { return (o.name != "" || o.meant != "") && o.usedBy(r) })
}

func match(pattern, name string) bool {
	matched, err := path.Match(pattern, name)
	return pattern == "" || err == nil && matched
}

// compare returns what is wrong with the rights of a program, a line each. granted has the role of each grant; unseen, by grant,
// why it is needed although no suite uses it, and seldom, although not every run does.
func compare(program Program, granted map[grant]string, used []Request, unseen, seldom map[string]string) []string {
	wrong := map[string]bool{}
	unused := map[string]bool{}
	for g, role := range granted {
		if slices.ContainsFunc(used, func(r Request) bool { return g.usedBy(r) && !isForNamed(g, r, granted) }) {
			continue
		}
		unused[g.String()] = true
		if unseen[g.String()] == "" && seldom[g.String()] == "" {
			wrong[fmt.Sprintf("the %s never uses its right %q, which %s grants", program, g, role)] = true
		}
	}
	for _, r := range used {
		allows := func(g grant) bool { return g.allows(r) }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(granted)), allows) {
			wrong[fmt.Sprintf("no role grants what the %s does: %q", program, describe(r.Verb, r.Group, r.Resource, r.Name))] = true
		}
	}
	for g := range unseen {
		if !unused[g] {
			wrong[fmt.Sprintf("the exception %q of the %s is not needed: it is used, or not granted", g, program)] = true
		}
	}
	return slices.Sorted(maps.Keys(wrong))
}

func TestCompareNamesWhatIsGrantedAndNotUsedAndTheOtherWayRound(t *testing.T) {
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}, ResourceNames: []string{"*.key"}},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments", "deployments/status"}, Verbs: []string{"patch"}},
	}
	granted := map[grant]string{}
	for _, g := range grantsOf(rules) {
		granted[g] = "Role r"
	}
	all := []Request{{"", "", "secrets", "create", "r.key"}, {"", "", "secrets", "get", "r.key"},
		{"", "apps", "deployments", "patch", "alpha"}, {"", "apps", "deployments/status", "patch", "alpha"}}
	const statusPatch = "patch apps deployments/status"
	for name, row := range map[string]struct {
		used   []Request
		unseen map[string]string
		seldom map[string]string
		more   []rbacv1.PolicyRule
		want   []string
	}{
		"all is used":     {used: all},
		"one is not":      {used: all[:3], want: []string{`the operator never uses its right "patch apps deployments/status", which Role r grants`}},
		"and that is why": {used: all[:3], unseen: map[string]string{statusPatch: "because"}},
		"it is seldom":    {used: all[:3], seldom: map[string]string{statusPatch: "because"}},
		"this time it is": {used: all, seldom: map[string]string{statusPatch: "because"}},
		"it is used":      {used: all, unseen: map[string]string{statusPatch: "because"}, want: []string{`the exception "patch apps deployments/status" of the operator is not needed: it is used, or not granted`}},
		"it is not there": {used: all, unseen: map[string]string{"list pods": "because"}, want: []string{`the exception "list pods" of the operator is not needed: it is used, or not granted`}},
		"another is made": {used: append([]Request{{"", "", "secrets", "create", "other"}}, all[1:]...), want: []string{`the operator never uses its right "create secrets", which Role r grants`}},
		"another is got":  {used: append(all, Request{"", "", "secrets", "get", "other"}), want: []string{`no role grants what the operator does: "get secrets other"`}},
		"that of any object": {used: all, more: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}},
			want: []string{`the operator never uses its right "get secrets", which Role s grants`}},
		"another verb": {used: append(all, Request{"", "apps", "deployments", "update", "alpha"}), want: []string{`no role grants what the operator does: "update apps deployments alpha"`}},
	} {
		t.Run(name, func(t *testing.T) {
			granted := maps.Clone(granted)
			for _, g := range grantsOf(row.more) {
				granted[g] = "Role s"
			}
			if diff := cmp.Diff(row.want, compare(Operator, granted, row.used, row.unseen, row.seldom)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
