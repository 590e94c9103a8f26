package v1alpha1

import (
	"slices"
	"time"
)

// UpgradeWindow is a time of the day, on all days or some, from which upgrades may begin.
// +kubebuilder:validation:XValidation:rule="!has(self.timeZone) || self.timeZone.matches('^[A-Z][A-Za-z0-9/_+-]*$') && self.timeZone != 'Local' && timestamp('2026-01-01T12:00:00Z').getHours(self.timeZone) >= 0",message="timeZone must be a name of the IANA time zone database, such as 'Europe/Berlin'"
type UpgradeWindow struct {
	// days on which the window begins. Default: every day.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=7
	Days []Weekday `json:"days,omitempty"`
	// start is when the window begins: hours and minutes, such as '02:30'.
	// +required
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:XValidation:rule="self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')",message="must be hours and minutes from '00:00' to '23:59'"
	Start string `json:"start"`
	// duration of the window, from '15m' to '24h'.
	// +required
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+h)?([0-9]+m)?$') && self != '' && duration(self) >= duration('15m') && duration(self) <= duration('24h')",message="must be hours and minutes from '15m' to '24h', for example '3h30m'"
	Duration string `json:"duration"`
	// timeZone of start, by its name in the IANA time zone database. Default: UTC.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`
}

// Weekday is a day of the week.
// +kubebuilder:validation:Enum=Monday;Tuesday;Wednesday;Thursday;Friday;Saturday;Sunday
type Weekday string

// MayUpgrade reports whether an upgrade may begin at a time, and otherwise when one may next: the zero time if never.
func (m *ClusterMaster) MayUpgrade(now time.Time) (may bool, next time.Time) {
	for i := range m.Spec.UpgradeWindows {
		for _, begin := range m.Spec.UpgradeWindows[i].begins(now) {
			end := begin.Add(durationOr(m.Spec.UpgradeWindows[i].Duration, 0))
			if !now.Before(begin) && now.Before(end) {
				return true, time.Time{}
			}
			if begin.After(now) && (next.IsZero() || begin.Before(next)) {
				next = begin
			}
		}
	}
	return len(m.Spec.UpgradeWindows) == 0, next
}

// begins are the beginnings of the window from the day before a time, as it may still be open, until it has begun again on every day of
// the week. There are none in a time zone that nobody knows.
func (w *UpgradeWindow) begins(now time.Time) (begins []time.Time) {
	zone, err := time.LoadLocation(w.TimeZone)
	start, wrong := time.Parse("15:04", w.Start)
	if err != nil || wrong != nil {
		return nil
	}
	for day := -1; day <= 7; day++ {
		begin := now.In(zone)
		begin = time.Date(begin.Year(), begin.Month(), begin.Day()+day, start.Hour(), start.Minute(), 0, 0, zone)
		if len(w.Days) == 0 || slices.Contains(w.Days, Weekday(begin.Weekday().String())) {
			begins = append(begins, begin)
		}
	}
	return begins
}
