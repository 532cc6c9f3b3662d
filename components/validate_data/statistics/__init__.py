"""Statistics of tables with TFDV: streaming, on several cores, by Beam."""
