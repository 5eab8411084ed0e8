package cli

import (
	"slices"
	"testing"

	"quant/internal/calendar"
	"quant/internal/config"
)

func TestEveryCalendarOfTheSettingIsOneThatThereIs(t *testing.T) {
	t.Parallel()
	if !slices.Equal(config.Calendars, calendar.Names) {
		t.Errorf("the setting takes %v, there are %v", config.Calendars, calendar.Names)
	}
	for _, name := range config.Calendars {
		if name == calendar.Data {
			continue
		}
		if c, err := calendar.Open(name); err != nil || c.Name() != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}
