package main

import (
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/words"
)

// validation is what `etl validate --output json` prints. Its first fields are
// those that callers of the service before this one know.
type validation struct {
	IsValid bool                  `json:"isValid"`
	Details validationDetails     `json:"details"`
	Report  *words.ReportDocument `json:"report"`
}

type validationDetails struct {
	SourceCount     int64 `json:"sourceCount"`
	TargetCount     int64 `json:"targetCount"`
	MissingInTarget int64 `json:"missingInTarget"`
	ExtraInTarget   int64 `json:"extraInTarget"`
	StaleInTarget   int64 `json:"staleInTarget"`
}

func newValidateCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Compare the two stores and say whether they agree",
		Long:  "Compares all products with the cart's rows. Nothing is changed. The exit code is 0 when\nthe stores agree and 1 when they do not.",
		Args:  cobra.NoArgs,
	}
	flags.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		request := commandRequest()
		request.DryRun = true
		if err := flags.apply(cmd, &request.Order); err != nil {
			return err
		}
		report, err := perform(cmd.Context(), t, env, &flags, request)
		if report == nil || flags.output.value == outputText {
			return conclude(t, outputText, report, err)
		}
		stores := report.Stores()
		document := validation{
			IsValid: err == nil && stores.InSync(),
			Details: validationDetails{
				SourceCount: stores.Products, TargetCount: stores.Rows, MissingInTarget: stores.Differing[product.Missing],
				ExtraInTarget: stores.Differing[product.Orphaned], StaleInTarget: stores.Differing[product.Stale],
			},
			Report: words.CLI.Report(report),
		}
		if printErr := printJSON(t.out, document); printErr != nil {
			return printErr
		}
		if err == nil && !document.IsValid {
			return errDifferences
		}
		return err
	}
	return cmd
}
