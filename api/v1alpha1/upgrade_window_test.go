package v1alpha1

import (
	"testing"
	"time"
	_ "time/tzdata"

	"sigs.k8s.io/yaml"
)

func TestUpgradesBeginInWindowsOnly(t *testing.T) {
	// 2026-03-28 is a Saturday; in Berlin the clocks go forward in the night after it, from 02:00 to 03:00.
	for name, test := range map[string]struct{ windows, now, want string }{
		"none":                         {`[]`, "2026-03-28T12:00:00Z", "open"},
		"before":                       {`[{start: "02:00", duration: 3h}]`, "2026-03-28T01:59:59Z", "2026-03-28T02:00:00Z"},
		"from its beginning":           {`[{start: "02:00", duration: 3h}]`, "2026-03-28T02:00:00Z", "open"},
		"before its end":               {`[{start: "02:00", duration: 3h}]`, "2026-03-28T04:59:59Z", "open"},
		"at its end":                   {`[{start: "02:00", duration: 3h}]`, "2026-03-28T05:00:00Z", "2026-03-29T02:00:00Z"},
		"since yesterday":              {`[{start: "22:00", duration: 4h}]`, "2026-03-28T01:00:00Z", "open"},
		"since yesterday, a Friday":    {`[{days: [Friday], start: "22:00", duration: 4h}]`, "2026-03-28T01:00:00Z", "open"},
		"not since yesterday":          {`[{days: [Saturday], start: "22:00", duration: 4h}]`, "2026-03-28T01:00:00Z", "2026-03-28T22:00:00Z"},
		"in a week":                    {`[{days: [Saturday], start: "02:00", duration: 15m}]`, "2026-03-28T02:15:00Z", "2026-04-04T02:00:00Z"},
		"the next of several":          {`[{days: [Monday], start: "02:00", duration: 1h}, {days: [Sunday], start: "04:00", duration: 1h}]`, "2026-03-28T12:00:00Z", "2026-03-29T04:00:00Z"},
		"any of several":               {`[{days: [Monday], start: "02:00", duration: 1h}, {start: "11:00", duration: 2h}]`, "2026-03-28T12:00:00Z", "open"},
		"the day is that of the zone":  {`[{days: [Sunday], start: "00:00", duration: 1h, timeZone: Pacific/Auckland}]`, "2026-03-28T11:30:00Z", "open"},
		"summer time":                  {`[{start: "04:00", duration: 1h, timeZone: Europe/Berlin}]`, "2026-03-28T12:00:00Z", "2026-03-29T02:00:00Z"},
		"an hour that there is not":    {`[{start: "02:30", duration: 1h, timeZone: Europe/Berlin}]`, "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"},
		"a whole day":                  {`[{days: [Saturday, Sunday], start: "00:00", duration: 24h}]`, "2026-03-29T23:59:59Z", "open"},
		"a zone that nobody knows":     {`[{start: "00:00", duration: 24h, timeZone: Europe/Atlantis}]`, "2026-03-28T12:00:00Z", "never"},
		"a zone that has no name here": {`[{start: "12:00", duration: 1h, timeZone: UTC}]`, "2026-03-28T12:00:00Z", "open"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &ClusterMaster{}
			if err := yaml.UnmarshalStrict([]byte(test.windows), &m.Spec.UpgradeWindows); err != nil {
				t.Fatal(err)
			}
			now, err := time.Parse(time.RFC3339, test.now)
			if err != nil {
				t.Fatal(err)
			}
			may, next := m.MayUpgrade(now)
			got := next.UTC().Format(time.RFC3339)
			switch {
			case may:
				got = "open"
			case next.IsZero():
				got = "never"
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
