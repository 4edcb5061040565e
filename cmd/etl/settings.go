package main

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"

	"github.com/ecom-micro/etl/api/ui"
)

// settings lists all variables in the order of the sections.
func (c *config) settings(env envconfig.Lookuper) []ui.Setting {
	var all []ui.Setting
	for _, s := range c.sections() {
		fields := reflect.ValueOf(s).Elem()
		for i, v := range variablesOf(s, env) {
			shown := fmt.Sprint(fields.Field(i).Interface())
			if list, is := fields.Field(i).Interface().([]string); is {
				shown = strings.Join(list, ",")
			}
			all = append(all, ui.Setting{Name: v.name, Value: shown, Default: v.value == ""})
		}
	}
	return all
}

// unknownVariables lists the variables of the environment that look like ours and
// that nothing reads: misspelt ones, most likely.
func unknownVariables(env envconfig.Lookuper) []string {
	known := map[string]bool{}
	for _, s := range (&config{}).settings(env) {
		known[s.Name] = true
	}
	var unknown []string
	for _, name := range variableNames(env) {
		if (strings.HasPrefix(name, "ETL_") || strings.HasPrefix(name, "SYNC_")) && !known[name] {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// environment is where variables come from, with their names.
type environment struct {
	envconfig.Lookuper
	names func() []string
}

func processEnvironment() environment {
	return environment{envconfig.OsLookuper(), func() []string {
		var names []string
		for _, entry := range os.Environ() {
			name, _, _ := strings.Cut(entry, "=")
			names = append(names, name)
		}
		return names
	}}
}

// variableNames lists the names that an environment has, as far as it tells them.
func variableNames(env envconfig.Lookuper) []string {
	if e, is := env.(environment); is {
		return e.names()
	}
	return nil
}
