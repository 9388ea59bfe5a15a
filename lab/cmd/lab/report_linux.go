package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/lab/report"
)

func reportCommand() *cobra.Command {
	var doc, plots string
	cmd := &cobra.Command{
		Use:   "report RESULTS...",
		Short: "Make tables and plots of results",
		Long: "Make tables and plots of results: the tables go to standard output, or with\n" +
			"--doc, tables and links to the plots between the marks of a Markdown file.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			results, err := report.ReadFiles(args...)
			if err != nil {
				return err
			}
			if doc != "" {
				if plots == "" {
					return fmt.Errorf("--doc needs --plots, the folder that the plots go to")
				}
				return report.Document(doc, plots, results)
			}
			if plots != "" {
				if _, err := report.Plots(plots, results); err != nil {
					return err
				}
			}
			return report.Table(cmd.OutOrStdout(), results)
		},
	}
	cmd.Flags().StringVar(&doc, "doc", "", "put the report between the marks of this Markdown file")
	cmd.Flags().StringVar(&plots, "plots", "", "put the plots, as SVG, into this folder")
	return cmd
}

func compareCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "compare BEFORE AFTER",
		Short: "Say what changed between two files of results, and whether it is more than noise",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			before, err := report.ReadFiles(args[0])
			if err != nil {
				return err
			}
			after, err := report.ReadFiles(args[1])
			if err != nil {
				return err
			}
			return report.Compare(cmd.OutOrStdout(), before, after)
		},
	}
}

func traceCommand() *cobra.Command {
	var out, title string
	cmd := &cobra.Command{
		Use:   "trace FILE",
		Short: "Plot how a UDP connection was paced",
		Long: "Plot how a UDP connection was paced, from a file that `jumpget serve --trace DIR` has written:\n" +
			"rate, bytes in flight, delay and loss over time. Under `lab bench` and `lab shell` the relay\n" +
			"writes traces where JUMPGET_TRACE=DIR is set.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return report.Trace(args[0], out, title) },
	}
	cmd.Flags().StringVar(&out, "out", "trace.svg", "the SVG file to write")
	cmd.Flags().StringVar(&title, "title", "", "what stands above it")
	return cmd
}
