-- title: Calibration
-- question: Is a confidence of 80 % right in 80 % of the cases?
SELECT model_version, confidence_from, confidence_to, answers_in_bin, round(mean_confidence, 4) AS mean_confidence, round(accuracy, 4) AS accuracy, round(overconfidence, 4) AS overconfidence
FROM calibration
